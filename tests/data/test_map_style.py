"""Data sets that are read item by item: their batches, and what they must be."""

from typing import Any, Literal

import numpy as np
import pytest

from decoupled import Run, train
from decoupled.data.map_style import DatasetSource
from decoupled.errors import UsageError
from decoupled.tensors import Array, ArraySpec

Task = Literal["classification", "multilabel", "regression"]


class Items:
    """As torch.utils.data.Dataset is: no more than this is asked of one."""

    def __init__(self, x: Any, y: Any) -> None:
        self._x, self._y = x, y

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._x[index], self._y[index]


rng = np.random.default_rng(0)
X, Y = rng.standard_normal((100, 6)), np.arange(100) % 2
X[:, 0] += 4 * Y


def source(x: Any = X, y: Any = Y, outputs: int = 2, task: Task = "classification", **more: Any) -> DatasetSource:
    return DatasetSource(Items(x, y), Items(x[:20], y[:20]), outputs, task, **more)


def test_an_epoch_has_every_item_once_and_can_be_taken_up_anywhere() -> None:
    whole, rest = (list(source().batches(8, 1, start, seed=3)) for start in (0, 5))

    assert sorted(float(x[0]) for batch, _ in whole for x in batch) == sorted(X[:, 0].astype(np.float32).tolist())
    assert all((a == b).all() for one, other in zip(whole[5:], rest, strict=True) for a, b in zip(one, other, strict=True))


def test_the_test_set_is_in_order() -> None:
    batches = list(source().test_batches(8, 1))

    assert np.concatenate([y for _, y in batches]).tolist() == Y[8:20].tolist()


@pytest.mark.parametrize(
    ("task", "y", "spec"),
    [
        ("classification", Y.tolist(), ArraySpec("int64", (), 2)),
        ("classification", np.stack([Y, Y, Y], 1), ArraySpec("int64", (3,), 2)),
        ("multilabel", np.stack([Y, 1 - Y], 1), ArraySpec("uint8", (2,))),
        ("regression", Y / 3, ArraySpec("float32", (1,))),
        ("regression", np.stack([Y, Y / 3], 1), ArraySpec("float32", (2,))),
    ],
)
def test_targets_are_as_the_loss_takes_them(task: Task, y: Any, spec: ArraySpec) -> None:
    made = source(y=y, task=task)

    assert made.y == spec
    assert all(made.y.describes(targets) and made.x.describes(inputs) for inputs, targets in made.batches(8, 1, 0, 0))


@pytest.mark.parametrize(
    ("x", "dtype", "scales"),
    [
        (X, "float32", []),
        ((X * 9).astype(np.int32), "int64", []),
        ((X * 9).astype(np.uint8), "uint8", [255]),
        (X > 0, "uint8", [255]),
    ],
)
def test_inputs_are_as_networks_take_them(x: Array, dtype: str, scales: list[int]) -> None:
    made = source(x=x)

    assert made.x == ArraySpec(dtype, (6,))
    assert made.scaling[1].tolist() == scales


def padded(items: Any) -> tuple[Array, Array]:
    """Sequences of the longest one's length."""
    length = max(len(x) for x, _ in items)
    return np.stack([np.pad(x, (0, length - len(x))) for x, _ in items]), np.array([y for _, y in items])


def test_items_of_different_lengths_are_collated_as_is_said() -> None:
    items = [(np.arange(1 + index % 4), index % 2) for index in range(40)]

    made = DatasetSource(items, items[:5], outputs=2, collate=padded)

    assert made.x == ArraySpec("int64", (None,))
    assert {x.shape[1] for x, _ in made.batches(1, 1, 0, 0)} == {1, 2, 3, 4}
    assert all(made.x.describes(x) and made.y.describes(y) for x, y in made.batches(8, 1, 0, 0))
    with pytest.raises(UsageError, match="of one shape"):
        next(DatasetSource(items, items, outputs=2).batches(8, 1, 0, 0))


def test_a_network_learns_of_it() -> None:
    report = train(Run(data=source(), schedule="single", hidden=(8,), epochs=20, batch=10, lr=1e-2))

    assert report.test_accuracy is not None
    assert report.test_accuracy > 0.9


def test_other_items_have_another_fingerprint() -> None:
    assert source().fingerprint == source().fingerprint
    assert (
        len({one.fingerprint for one in (source(), source(x=X + 1), source(x=X[:90]), source(y=1 - Y), source(name="mine"))}) == 5
    )
    assert source(fingerprint="mine 1").fingerprint == "mine 1"


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([], [], "0 samples to train on"),
        ([1.0] * 30, [0] * 30, "must be numbers, not float64 of shape ()"),
        ([["a"]] * 30, [0] * 30, "must be numbers"),
    ],
)
def test_items_that_are_none_are_refused(x: Any, y: Any, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        source(x, y)

    assert said in str(refused.value)


def test_items_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match="must be pairs of an input and a target of one shape"):
        DatasetSource(X, X, 2)
