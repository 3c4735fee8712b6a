"""Data of every kind reach a PyTorch model as it needs them: tokens as they are, images and rows standardised."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import Run, train
from decoupled.data.map_style import DatasetSource
from decoupled.tensors import Array

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

rng = np.random.default_rng(0)
SMALL = {"width": 16, "depth": 1, "heads": 2}


def halves(x: Array, y: Array) -> dict[str, Array]:
    cut = len(x) * 3 // 4
    return {"x_train": x[:cut], "y_train": y[:cut], "x_test": x[cut:], "y_test": y[cut:]}


def accuracy(**values: Any) -> float:
    """Of a run in one process."""
    found = train(Run(**{"schedule": "single", "epochs": 6, "batch": 32, "lr": 1e-2} | values)).test_accuracy
    assert found is not None
    return found


def test_a_text_is_learnt(tmp_path: Path) -> None:
    (tmp_path / "abc.txt").write_text("abcdefgh" * 800)

    assert accuracy(data=f"text:{tmp_path / 'abc.txt'}", model="gpt", args={"model": SMALL, "data": {"context": 16}}) > 0.9


@pytest.mark.parametrize("dtype", ["int64", "uint16"])
def test_arrays_of_tokens_are_learnt(dtype: str) -> None:
    x = (rng.integers(0, 7, (400, 1)) + np.arange(12)) % 7

    assert accuracy(data=halves(x.astype(dtype), ((x + 1) % 7).astype(dtype)), model="gpt", args={"model": SMALL}) > 0.9


def test_images_are_standardised_by_channel() -> None:
    """Without it a network would hardly see the channel that matters."""
    x = np.stack([rng.normal(1000, 500, (400, 16, 16)), rng.normal(0, 1e-3, (400, 16, 16))], axis=1)
    y = np.arange(400) % 2
    x[:, 1, :8] += 2e-3 * y[:, None, None]

    assert accuracy(data=halves(x, y), model="resnet", args={"model": {"width": 4}}) > 0.9


def test_a_network_of_rows_takes_images() -> None:
    assert accuracy(data="digits", model="torch-mlp", args={"model": {"hidden": [32]}}) > 0.9


class Noisy:
    """Draws with PyTorch's random numbers, as transforms do."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return torch.rand(1, 8, 8) + index % 3, index % 3


def test_transforms_draw_the_same_for_a_seed_wherever_an_epoch_is_taken_up() -> None:
    source = DatasetSource(Noisy(), Noisy(), outputs=3)

    before = torch.random.get_rng_state()
    whole, rest = (list(source.batches(8, 1, start, seed=0)) for start in (0, 3))
    other = next(source.batches(8, 2, 0, seed=0))

    assert all((a[0] == b[0]).all() for a, b in zip(whole[3:], rest, strict=True))
    assert not (np.sort(whole[0][0] % 1) == np.sort(other[0] % 1)).any()
    assert (torch.random.get_rng_state() == before).all()
    assert source.fingerprint == DatasetSource(Noisy(), Noisy(), outputs=3).fingerprint


def test_a_torch_dataset_is_learnt() -> None:
    y = torch.arange(120) % 3
    images = torch.utils.data.TensorDataset(torch.rand(120, 1, 8, 8) + y[:, None, None, None], y)
    parts = torch.utils.data.Subset(images, range(90)), torch.utils.data.Subset(images, range(90, 120))
    source = DatasetSource(*parts, outputs=3)

    assert accuracy(data=source, model="resnet", epochs=15, batch=10, args={"model": {"width": 4}}) > 0.9
