"""Options of a run with a PyTorch model: each works, or is refused with a sentence before a worker starts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from decoupled import Run, UsageError, user_code
from decoupled.runtime.assignment import assign, make_stage
from decoupled.runtime.resolve import resolve
from decoupled.tensors import Array, TensorSpec
from tests.datasets import blobs
from tests.pytorch.runs import GPT, VGG, alone, assert_same, data_for, over_workers
from tests.pytorch.stages import a_stage, floats, gradients_like

pytestmark = pytest.mark.slow

NETS = Path(__file__).parent / "nets.py"
MLP: dict[str, Any] = {"model": "torch-mlp", "hidden": (8, 8)}


@pytest.fixture(autouse=True)
def _allowed() -> None:
    user_code.allow(str(NETS))


OPTIONS: list[dict[str, Any]] = [
    {"optimiser": {"name": "adamw"}},
    {"optimiser": {"name": "nadam", "decay": "constant"}},
    {"optimiser": {"name": "sgd", "weight_decay": 0.01}, "lr": 0.1},
    {"optimiser": {"name": "adam", "clip": 0.5, "warm_up": 10, "decay": "cosine"}},
    {"args": {"optimiser": {"betas": [0.8, 0.99], "eps": 1e-6, "amsgrad": True}}},
    {"args": {"optimiser": {"foreach": True}}},
    {"optimiser": {"name": f"{NETS}:rmsprop"}, "args": {"optimiser": {"alpha": 0.9}}},
    {"network": {"dtype": "bfloat16"}},
    {"network": {"dtype": "float64"}},
    {"network": {"loss": f"{NETS}:make_loss"}},
    {"network": {"loss": f"{NETS}:make_losses"}},
    {"network": {"activation": "tanh"}},
    {"dni": {"late_weights": "current"}},
    {"dni": {"late_weights": "at-forward"}},
    {"runtime": {"device": "cpu"}},
    {"runtime": {"device": "cpu,cpu"}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_trains(options: dict[str, Any]) -> None:
    report = over_workers(MLP | {"epochs": 10, "lr": 0.01} | options, blobs())

    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9


@pytest.mark.parametrize("options", [*OPTIONS[:5], *OPTIONS[6:8]], ids=str)
def test_every_option_of_optimisers_is_the_same_over_workers(options: dict[str, Any]) -> None:
    there = over_workers(MLP | options, blobs(), schedule="lockstep")

    if "clip" not in options.get("optimiser", {}):  # which is by stage
        assert_same(alone(MLP | options, blobs()).network.arrays, there.network.arrays)


def test_activations_of_autocast_travel_as_bfloat16() -> None:
    values = VGG | {"network": {"dtype": "bfloat16"}}
    model = resolve(Run(**values), data_for(values)).model

    assert [one.dtype for one in model.flow(3).arrays] == ["bfloat16"]
    report = over_workers(values, epochs=4)
    assert {array.dtype.name for array in report.network.arrays.values()} == {"float32", "int64"}


REFUSED: list[tuple[dict[str, Any], str]] = [
    (MLP | {"args": {"optimiser": {"betas": [2, 2]}}}, r"optimiser adam does not take its options: ValueError: Invalid beta"),
    (MLP | {"args": {"optimiser": {"colour": 1}}}, r"The optimiser adam has no option colour; it has"),
    (MLP | {"args": {"optimiser": {"lr": 1}}}, r"The learning rate is --lr"),
    (MLP | {"optimiser": {"name": f"{NETS}:no_optimiser"}}, r"gave a str, which is no torch.optim.Optimizer"),
    (MLP | {"optimiser": {"name": f"{NETS}:needs_a_closure"}}, r"needs_a_closure cannot train, or save, a parameter of"),
    (MLP | {"optimiser": {"name": f"{NETS}:rmsprop", "weight_decay": 0.1}}, r"has no option weight_decay; it has lr, alpha"),
    (MLP | {"network": {"activation": f"{NETS}:Add"}}, r"torch-mlp: activation: Input should be 'relu', 'sigmoid'"),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED, ids=lambda part: part if isinstance(part, str) else "")
def test_what_an_option_cannot_be_is_refused_in_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        resolve(Run(**values), blobs())

    assert "\n" not in str(refused.value)


def norm_of(gradients: list[Array]) -> float:
    return float(np.sqrt(sum(np.square(gradient).sum() for gradient in gradients)))


def test_clip_bounds_the_norm_of_the_mean_gradient_of_the_stage() -> None:
    """Plain descent at a rate of 0.1: the step's length says what the gradient was."""
    stages = [a_stage(nn.Linear(6, 5), nn.Linear(5, 4), inputs=TensorSpec.of("float32", 6), clip=clip) for clip in (None, 0.25)]
    stages[1].load_state_dict(stages[0].state_dict())
    steps = []
    for stage in stages:
        before = stage.model_state()
        passed = stage.forward((floats(0, 8, 6),))
        stage.backward(passed, gradients_like(passed, 1), want_dx=False)
        stage.step(8)
        steps.append([(before[name] - array) / 0.1 for name, array in stage.model_state().items()])

    free, clipped = map(norm_of, steps)
    assert free > 0.25
    assert clipped == pytest.approx(0.25, rel=1e-4)
    for one, other in zip(*steps, strict=True):
        np.testing.assert_allclose(one * clipped / free, other, atol=1e-5)


def test_weight_decay_is_that_of_pytorch() -> None:
    values = MLP | {"schedule": "single", "optimiser": {"name": "adamw", "weight_decay": 0.5}, "lr": 0.1}
    stage = make_stage(assign(resolve(Run(**values), blobs()), 0))
    before = stage.model_state()
    x = blobs().x_train[:20].astype(stage.inputs.arrays[0].dtype)
    passed = stage.forward((x,))
    stage.backward(passed, tuple(np.zeros_like(output) for output in passed.outputs), want_dx=False)

    stage.step(20)

    after = stage.model_state()
    np.testing.assert_allclose(after["0.0.weight"], before["0.0.weight"] * (1 - 0.1 * 0.5), rtol=1e-6)


def test_a_run_leaves_the_callers_random_numbers_alone_where_it_makes_a_model() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    resolve(Run(**GPT), data_for(GPT))

    assert torch.rand(1) == expected
