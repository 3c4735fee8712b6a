"""A stage's state: it goes on from one bit for bit, and from another it refuses to, before anything has changed."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("torch")

from decoupled import user_code
from decoupled.config import Run
from decoupled.pytorch.stage import TorchStage
from decoupled.runtime.assignment import assign, make_stage
from decoupled.runtime.resolve import resolve
from decoupled.tensors import Array
from tests.pytorch.runs import GPT, RESNET, VGG, data_for
from tests.pytorch.stages import floats

pytestmark = pytest.mark.slow

OPTIMISERS: list[dict[str, Any]] = [
    {"name": "adam"},
    {"name": "adamw", "weight_decay": 0.1},
    {"name": "nadam"},
    {"name": "sgd", "momentum": 0.9},
    {"name": "sgd", "momentum": 0.0},
    {"name": "adam", "clip": 0.5, "warm_up": 3, "decay": "cosine"},
]
STAGES = {
    "vgg": ((0, 1), (2, 3, 4), (5, 6, 7)),
    "resnet": ((0,), (1, 2), (3, 4)),
    "gpt": ((0,), (1, 2), (3,)),
}


def hidden_stage(values: dict[str, Any], **more: Any) -> TorchStage:
    run = Run(**{"batch": 10, "stages": STAGES[values["model"]]} | values | more)
    stage = make_stage(assign(resolve(run, data_for(values)), 1))
    assert isinstance(stage, TorchStage)
    return stage


def learn(stage: TorchStage, seed: int) -> None:
    """An update from the head, and then a gradient that came back for a pass that went forward before it."""
    x = tuple(floats(seed, *one.shape) for one in stage.inputs.zeros(10))
    rng = np.random.default_rng(seed)
    targets = (rng.integers(0, 4, (10, 8) if len(stage.inputs.arrays[0].shape) == 2 else 10),)
    late, passed = stage.forward(x), stage.forward(x)
    stage.backward(passed, stage.synthesize(passed, targets), want_dx=False)
    stage.step(10)
    returned = tuple(floats(seed, *output.shape) for output in late.outputs)
    stage.backward(late, returned, want_dx=True)
    stage.step(10)
    stage.refine(late, targets, returned)


def assert_same_state(one: TorchStage, other: dict[str, Array]) -> None:
    state = one.state_dict()
    assert state.keys() == other.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda optimiser: "-".join(map(str, optimiser.values())))
@pytest.mark.parametrize("values", [VGG, RESNET, GPT], ids=lambda values: str(values["model"]))
def test_a_stage_that_is_restored_goes_on_as_the_one_that_was_saved(values: dict[str, Any], optimiser: dict[str, Any]) -> None:
    """Bit for bit: weights, running statistics, dropout, the optimiser's memory and the head's."""
    saved, restored = (hidden_stage(values, optimiser=optimiser) for _ in range(2))
    for seed in range(2):
        learn(saved, seed)

    restored.load_state_dict(saved.state_dict())
    for seed in range(2, 4):
        learn(saved, seed)
        learn(restored, seed)

    assert_same_state(restored, saved.state_dict())
    assert restored.version == 8


def test_a_stage_that_has_made_no_update_is_restored() -> None:
    saved, restored = (hidden_stage(GPT) for _ in range(2))

    restored.load_state_dict(saved.state_dict())

    assert_same_state(restored, saved.state_dict())


def without(state: dict[str, Array], name: str) -> dict[str, Array]:
    return {key: array for key, array in state.items() if key != name}


WEIGHT = "1.qkv.weight"
STEP, MOMENT = f"optimiser.{WEIGHT}.step", f"optimiser.{WEIGHT}.exp_avg"
HOSTILE: dict[str, Callable[[dict[str, Array]], dict[str, Array]]] = {
    "another shape": lambda state: {WEIGHT: state[WEIGHT][:-1]},
    "another order of lengths": lambda state: {WEIGHT: state[WEIGHT].T.copy()},
    "a wider type": lambda state: {WEIGHT: state[WEIGHT].astype(np.float64)},
    "bfloat16": lambda state: {WEIGHT: state[WEIGHT].astype(ml_dtypes.bfloat16)},
    "whole numbers": lambda state: {WEIGHT: state[WEIGHT].astype(np.int32)},
    "one more": lambda state: {"1.other": state[WEIGHT]},
    "one more of the optimiser": lambda state: {f"optimiser.{WEIGHT}.other": state[MOMENT]},
    "one more weight of the optimiser": lambda state: {"optimiser.7.weight.exp_avg": state[MOMENT]},
    "one more of the head": lambda state: {"head.module.other": state[WEIGHT]},
    "another moment": lambda state: {MOMENT: state[MOMENT][:, :1]},
    "a moment of bfloat16": lambda state: {MOMENT: state[MOMENT].astype(ml_dtypes.bfloat16)},
    "a gigantic moment": lambda state: {MOMENT: np.broadcast_to(np.float32(0), (2**20, 2**20))},
    "a gigantic weight": lambda state: {WEIGHT: np.broadcast_to(np.float32(0), (2**20, 2**20))},
    "no number of steps": lambda state: {STEP: np.array(np.nan, np.float32)},
    "endless steps": lambda state: {STEP: np.array(np.inf, np.float32)},
    "steps before the first": lambda state: {STEP: np.array(-1, np.float32)},
    "a row of steps": lambda state: {STEP: np.ones(3, np.float32)},
    "a version before the first": lambda state: {"updates": np.array(-1)},
    "a version of floats": lambda state: {"updates": np.array(1.5)},
    "a gigantic version": lambda state: {"updates": np.array(2**62)},
    "a row of versions": lambda state: {"updates": np.arange(2)},
    "passes before the first": lambda state: {"passes": np.array(-5)},
    "no number of passes": lambda state: {"passes": np.array(np.nan)},
}
LACKING = [WEIGHT, STEP, MOMENT, "updates", "passes"]


@pytest.mark.parametrize("name", [*HOSTILE, *LACKING])
def test_a_hostile_state_is_refused_before_anything_has_changed(name: str) -> None:
    theirs, mine = hidden_stage(GPT), hidden_stage(GPT)
    learn(theirs, 0)
    learn(mine, 1)
    before, state = mine.state_dict(), theirs.state_dict()
    assert {WEIGHT, STEP, MOMENT} <= state.keys()
    hostile = state | HOSTILE[name](state) if name in HOSTILE else without(state, name)

    with pytest.raises(ValueError):  # noqa: PT011 (any sentence: the worker says whose state it was)
        mine.load_state_dict(hostile)

    assert_same_state(mine, before)
    learn(mine, 2)


def test_a_head_whose_state_lacks_something_is_refused_before_anything_has_changed() -> None:
    theirs, mine = hidden_stage(GPT), hidden_stage(GPT)
    learn(theirs, 0)
    before, state = mine.state_dict(), theirs.state_dict()
    of_head = [name for name in state if name.startswith("head.")]
    assert of_head

    for name in of_head:
        with pytest.raises(ValueError, match=r"."):
            mine.load_state_dict(without(state, name))
    assert_same_state(mine, before)


def test_the_state_of_another_optimiser_is_refused() -> None:
    theirs, mine = hidden_stage(GPT, optimiser={"name": "sgd"}), hidden_stage(GPT)
    learn(theirs, 0)

    with pytest.raises(ValueError, match="only one of the two"):
        mine.load_state_dict(theirs.state_dict())


OWN = """
import torch

class Counting(torch.optim.SGD):
    '''Plain descent that counts its updates in a Python number, and slows down by it.'''

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["count"] = self.state[p].get("count", 0) + 1
                    p.data.sub_(p.grad, alpha=group["lr"] / self.state[p]["count"])

def make(parameters, lr):
    return Counting(parameters, lr=lr)
"""


def test_an_optimiser_of_ones_own_goes_on_where_it_was(tmp_path: Any) -> None:
    (tmp_path / "own.py").write_text(OWN)
    user_code.allow(str(tmp_path / "own.py"))
    options = {"optimiser": {"name": f"{tmp_path / 'own.py'}:make"}, "head": "image"}
    saved, restored = (hidden_stage(VGG, **options) for _ in range(2))
    learn(saved, 0)

    restored.load_state_dict(saved.state_dict())
    for stage in (saved, restored):
        learn(stage, 1)

    assert_same_state(restored, saved.state_dict())
