"""Trained PyTorch models answer without workers, from a run's folder alone, as they were evaluated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from decoupled import Report, Run, UsageError, evaluate, load_network, train  # noqa: E402
from decoupled.checkpoint import load_arrays, save_arrays  # noqa: E402
from decoupled.data.targets import read  # noqa: E402
from decoupled.nn.model import ModelSite  # noqa: E402
from decoupled.nn.recipe import Recipe  # noqa: E402
from decoupled.pytorch.trained import TorchNetwork, restored  # noqa: E402
from decoupled.tensors import Array, TensorSpec  # noqa: E402
from tests.e2e.commands import in_process, is_one_sentence  # noqa: E402

pytestmark = pytest.mark.slow

rng = np.random.default_rng(3)
IMAGES = rng.integers(0, 256, (240, 1, 8, 8)).astype(np.uint8)
UP = np.where(IMAGES[:, 0, :4].mean((1, 2)) > IMAGES[:, 0, 4:].mean((1, 2)), "up", "down")
MIXED = np.stack([IMAGES[:, 0, 0].mean(1) * 1e3, IMAGES[:, 0, 7].mean(1)], axis=1)
BITS = (MIXED.mean(0) < MIXED).astype(np.uint8)
TARGETS = {"classification": UP, "multilabel": BITS, "regression": MIXED}

MY_NET = """
from collections import OrderedDict

from torch import nn


class Both(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh())

    def forward(self, x):
        return self.body(x), x


class Joined(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.layer = nn.Linear(width + 64, outputs)

    def forward(self, y, x):
        import torch
        return self.layer(torch.cat([y, x.flatten(1)], 1))


def make(spec, width: int = 8):
    return [Both(width), nn.Linear(width, width), Joined(width, spec.outputs)]


def named(spec):
    return nn.Sequential(OrderedDict(flat=nn.Flatten(), first=nn.Linear(64, 9), last=nn.Linear(9, spec.outputs)))
"""


def arrays(y: Array) -> dict[str, Array]:
    return {"x_train": IMAGES[:160], "y_train": y[:160], "x_test": IMAGES[160:], "y_test": y[160:]}


def trained(folder: Path, y: Array = UP, **values: Any) -> Report:
    values = {"model": "resnet", "schedule": "single", "epochs": 1, "args": {"model": {"width": 4}}} | values
    return train(Run(data=arrays(y), **values), folder)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("task", TARGETS)
def test_a_folder_gives_back_the_network_that_was_evaluated(task: str, dtype: str, tmp_path: Path) -> None:
    y = TARGETS[task]
    report = trained(tmp_path / "run", y, network={"dtype": dtype})
    found, again = evaluate(tmp_path / "run", arrays(y)), load_network(tmp_path / "run")

    near = pytest.approx(report.test_loss, rel=2e-2 if dtype == "bfloat16" else 1e-5)
    assert found.loss == near
    figures = ((found.accuracy, report.test_accuracy), (found.mae, report.test_mae), (found.r2, report.test_r2))
    for mine, theirs in figures:
        assert mine == theirs if theirs is None else mine == pytest.approx(theirs, rel=2e-2)
    x = IMAGES[160:]
    np.testing.assert_array_equal(again.predict(x), report.network.predict(x))
    assert again.predict(x).shape == y[160:].shape
    if task == "classification":
        assert again.labels is not None
        proba = again.predict_proba(x)
        np.testing.assert_allclose(proba.sum(axis=-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(again.labels[proba.argmax(-1)], again.predict(x))
        assert np.mean(again.predict(x) == y[160:]) == pytest.approx(report.test_accuracy, abs=0.02)
    if task == "regression":
        assert np.abs(again.predict(x) - y[160:]).mean() == pytest.approx(report.test_mae, rel=2e-2)
        with pytest.raises(UsageError, match="Values have no probabilities"):
            again.predict_proba(x)


def test_workers_evaluate_as_eval_does(tmp_path: Path) -> None:
    report = trained(tmp_path / "run", schedule="dni", workers=3, epochs=2)

    found = evaluate(tmp_path / "run", arrays(UP))

    assert (found.loss, found.accuracy) == pytest.approx((report.test_loss, report.test_accuracy), abs=1e-5)


MY_LOSS = """from torch.nn import functional


def smoothed(share: float = 0.1):
    return lambda outputs, targets: functional.cross_entropy(outputs, targets, label_smoothing=share)
"""


def test_under_a_loss_of_ones_own_workers_count_as_eval_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_loss.py").write_text(MY_LOSS)
    monkeypatch.chdir(tmp_path)
    report = trained(tmp_path / "run", schedule="lockstep", workers=2, network={"loss": "my_loss.py:smoothed"})

    found = evaluate(tmp_path / "run", arrays(UP))

    assert report.test_accuracy is not None
    assert (found.loss, found.accuracy) == pytest.approx((report.test_loss, report.test_accuracy), abs=1e-5)


def test_a_model_of_ones_own_is_found_by_its_reference_and_named_as_plain_pytorch_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report.network.modules` are the user's own modules, trained; a state dict in the file fits a row made anew."""
    (tmp_path / "my_net.py").write_text(MY_NET)
    monkeypatch.chdir(tmp_path)
    for name, first in (("make", "0.body.1.weight"), ("named", "first.weight")):
        report = trained(tmp_path / name, model=f"my_net.py:{name}", args={}, schedule="lockstep", workers=3)
        held, _ = load_arrays(tmp_path / name / "model.safetensors")
        assert first in held
        network = load_network(tmp_path / name)
        assert isinstance(network, TorchNetwork)
        np.testing.assert_array_equal(network.predict(IMAGES), report.network.predict(IMAGES))
        assert network.modules.state_dict().keys() == held.keys()
        assert isinstance(network.modules[-1], nn.Module)
        assert not network.modules.training


def test_a_notebooks_next_run_trains_what_its_cell_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`%%writefile my_net.py` and `Run(model="my_net.py:make")`, twice: the workers have the new file, as this process has."""
    monkeypatch.chdir(tmp_path)
    for width in (8, 6):
        (tmp_path / "my_net.py").write_text(MY_NET.replace("width: int = 8", f"width: int = {width}"))
        report = trained(tmp_path / f"run{width}", model="my_net.py:make", args={}, schedule="lockstep", workers=2)

        assert report.network.arrays["1.weight"].shape == (width, width)


def test_a_folder_that_names_code_is_refused_until_the_code_is_named(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(MY_NET)
    np.savez(tmp_path / "mine.npz", **arrays(UP))  # type: ignore[arg-type]
    np.save(tmp_path / "x.npy", IMAGES)
    run = ("--data", "mine.npz", "--schedule", "single", "--epochs", "1", "--out", "run")
    done = in_process("train", "--model", "my_net.py:make", "--model-args", "width=5", *run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = ("predict", "run", "--input", "x.npy", "--output", "y.npy", "--proba")

    from decoupled import user_code

    user_code._named.clear()
    refused = in_process(*words, cwd=tmp_path)
    done = in_process(*words, "--code", "my_net.py", cwd=tmp_path)

    assert refused.returncode == 2
    assert is_one_sentence(refused.stderr)
    assert "--code" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "y.npy").shape == (240, 2)
    said = in_process("eval", "run", "--code", "my_net.py", cwd=tmp_path).stdout
    assert "on 80 samples" in said


def network(inputs: TensorSpec, scaling: Array) -> TorchNetwork:
    learnt = read(np.arange(160) % 3, np.arange(3), "them")
    site = ModelSite(inputs, TensorSpec.of("int64", below=3), 3, (scaling, np.ones_like(scaling)), "softmax", 0)
    recipe = Recipe("resnet", {"width": 4}, site, "float32", {})
    modules = recipe.make()
    held = {name: value.numpy() for name, value in nn.Sequential(*modules).state_dict().items()}
    return restored(recipe, held, learnt.targets)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((5, 8, 8)), "takes inputs of float32 N x 1 x 8 x 8, not float64 of shape"),
        (np.zeros((5, 1, 8, 9)), "takes inputs of float32 N x 1 x 8 x 8, not float64 of shape"),
        (np.full((5, 1, 8, 8), "a"), "takes numbers, not <U1"),
        (np.full((5, 1, 8, 8), np.nan), "not finite, first in row 0"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_a_sentence(x: Array, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        network(TensorSpec.of("float32", 1, 8, 8), np.zeros(1)).predict(x)


def test_inputs_of_other_types_are_taken_as_the_numbers_they_are() -> None:
    ours, x = network(TensorSpec.of("float32", 1, 8, 8), np.full(1, 90.0)), IMAGES[:4]

    for kind in ("uint8", "int16", "uint16", "float64"):
        np.testing.assert_allclose(ours.outputs(x.astype(kind)), ours.outputs(x.astype("float32")), rtol=1e-6)
    assert ours.predict(x[:0]).shape == (0,)
    assert ours.outputs(x[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scaling": [[1.0] * 5, [2.0] * 5]}, "cannot take float32 of shape"),
        ({"inputs": TensorSpec.of("float32", 2, 8, 8).to_body()}, "has shape"),
        ({"inputs": []}, "is not a model that decoupled wrote"),
    ],
)
def test_a_description_that_does_not_fit_the_blocks_is_a_sentence(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    ours = network(TensorSpec.of("float32", 1, 8, 8), np.zeros(1))
    save_arrays(tmp_path / "model.safetensors", ours.arrays, ours.about | {"pytorch": ours.about["pytorch"] | change})

    with pytest.raises(UsageError, match=said):
        load_network(tmp_path).predict(np.zeros((3, 1, 8, 8), np.float32))


def test_a_folder_that_claims_a_vast_network_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    trained(tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    held, about = load_arrays(path)
    save_arrays(path, held, about | {"pytorch": about["pytorch"] | {"args": {"width": 2**16}}})

    with pytest.raises(UsageError, match=r"is not a model that decoupled wrote: .*has shape"):
        load_network(tmp_path / "run")


@pytest.mark.parametrize("key", ["model", "inputs", "scaling", "outputs", "args"])
@pytest.mark.parametrize("value", [None, -1, "x", [], {}])
def test_a_damaged_description_is_refused_in_a_sentence(key: str, value: object, tmp_path: Path) -> None:
    network(TensorSpec.of("float32", 1, 8, 8), np.zeros(1))
    ours = network(TensorSpec.of("float32", 1, 8, 8), np.zeros(1))
    about = json.loads(json.dumps(ours.about))
    about["pytorch"][key] = value
    save_arrays(tmp_path / "model.safetensors", ours.arrays, about)

    if (key, value) == ("args", []) or (key, value) == ("args", {}):
        return  # the model's own choices, or a map after all
    with pytest.raises(UsageError):
        load_network(tmp_path)
