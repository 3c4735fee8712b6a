"""The oracle test in PyTorch: with a head that returns the true gradient, dni is backprop."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from decoupled.config import Run
from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.pytorch.blocks import Flow
from decoupled.pytorch.stage import TorchStage
from decoupled.runtime.assignment import Assignment, assign, make_stage
from decoupled.runtime.resolve import resolve
from decoupled.tensors import Array
from tests.pipeline import Pipeline
from tests.pytorch.runs import GPT, RESNET, VGG, alone, assert_same, data_for

pytestmark = pytest.mark.slow


class Oracle:
    """A head that knows the stages below and works out what backprop would send up."""

    def __init__(self, below: list[tuple[TorchStage, Assignment]]) -> None:
        self._below = below

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        """Looks ahead with twins of the stages, which leave no trace."""
        twins = [twin_of(stage, assignment) for stage, assignment in self._below]
        passes, x = [], tuple(map(to_array, leaving))
        for stage in twins:
            passes.append(stage.forward(x))
            x = passes[-1].outputs
        gradients = twins[-1].loss(passes[-1], tuple(map(to_array, targets))).gradients
        for stage, passed in zip(reversed(twins), reversed(passes), strict=True):
            upward = stage.backward(passed, gradients, want_dx=True)
            assert upward is not None
            gradients = upward
        return tuple(to_tensor(gradient, torch.device("cpu")) for gradient in gradients)

    def update(self, samples: int, factor: float) -> None:
        """Nothing to learn."""

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        return returned

    def adopt(self, published: Flow) -> None:
        """Nothing to take over."""

    def state(self) -> dict[str, Array]:
        return {}

    def load(self, state: dict[str, Array]) -> None:
        """Nothing to go on from."""


def twin_of(stage: TorchStage, assignment: Assignment) -> TorchStage:
    twin = torch_stage(assignment)
    twin.head = stage.head and Oracle([])
    twin.load_state_dict(stage.state_dict())
    return twin


def torch_stage(assignment: Assignment) -> TorchStage:
    stage = make_stage(assignment)
    assert isinstance(stage, TorchStage)
    return stage


@pytest.mark.parametrize("values", [VGG, RESNET, GPT], ids=lambda values: str(values["model"]))
def test_dni_with_an_oracle_head_equals_backprop(values: dict[str, Any]) -> None:
    values = values | {"network": {"dtype": "float64"}, "epochs": 3, "batch": 20}
    run = Run(**values, workers=4, feedback_every=1, dni={"feedback": "bootstrapped"})
    resolved = resolve(run, data_for(values))
    assignments = [assign(resolved, stage) for stage in range(4)]
    stages = [torch_stage(assignment) for assignment in assignments]
    for i, stage in enumerate(stages[:-1]):
        stage.head = Oracle(list(zip(stages, assignments, strict=True))[i + 1 :])
    pipeline = Pipeline(resolved, stages)

    pipeline.train()

    assert_same(alone(values).network.arrays, pipeline.model_state, apart=1e-10)
    assert pipeline.updates == [resolved.steps_total] * 4
