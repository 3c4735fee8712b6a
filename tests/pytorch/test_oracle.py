"""The oracle test in PyTorch: with a head that returns the true gradient, dni is backprop.

Queue depth 1 means that a microbatch is fed only when the whole pipeline is done with the one before.
"""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from decoupled.config import Run
from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.pytorch.blocks import Flow
from decoupled.pytorch.stage import TorchStage
from decoupled.runtime.assignment import Assignment, assign, build_schedule, make_stage
from decoupled.runtime.executor import DOWNSTREAM, UPSTREAM, StageExecutor
from decoupled.runtime.feed import Item
from decoupled.runtime.records import Record
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.schedules.events import ActivationArrived, CreditGranted, GradientArrived, PeerJoined
from decoupled.telemetry.counters import Counters
from decoupled.tensors import Array
from decoupled.wire.messages import Message
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


class Pipeline:
    """Stages with oracle heads, each handed what its neighbours sent."""

    def __init__(self, resolved: ResolvedRun) -> None:
        assignments = [assign(resolved, stage) for stage in range(len(resolved.stages))]
        self.stages = [torch_stage(assignment) for assignment in assignments]
        pairs = list(zip(self.stages, assignments, strict=True))
        for i, stage in enumerate(self.stages[:-1]):
            stage.head = Oracle(pairs[i + 1 :])
        self.executors = [StageExecutor(s, a.place, Counters(a.place.stage)) for s, a in pairs]
        self._schedules = [build_schedule(assignment) for assignment in assignments]
        for schedule in self._schedules[:-1]:
            schedule.receive(PeerJoined(1))

    def train_on(self, item: Item) -> None:
        """Feeds one microbatch and waits until it has gone down and its gradients have come up."""
        self._arrive(0, item.microbatch, item.training, item.x, item.y)
        down = range(len(self.stages))
        for i in (*down, *reversed(down)):
            while (action := self._schedules[i].next_action()) is not None:
                for peer, message in self.executors[i].perform(action):
                    self._hand_on(i, peer, message)
                if i > 0:
                    self._schedules[i - 1].receive(CreditGranted(1))

    def _hand_on(self, i: int, peer: str, message: Message) -> None:
        if peer == DOWNSTREAM:
            self._arrive(i + 1, message.microbatch, message.body["training"], *message.tensors)
        elif peer == UPSTREAM and i > 0 and self.executors[i - 1].accept_gradients(message.microbatch, message.tensors):
            self._schedules[i - 1].receive(GradientArrived(message.microbatch))

    def _arrive(self, i: int, microbatch: int, training: bool, x: Array, y: Array) -> None:
        self.executors[i].records[microbatch] = Record((x,), (y,), training)
        self._schedules[i].receive(ActivationArrived(microbatch, training))


@pytest.mark.parametrize("values", [VGG, RESNET, GPT], ids=lambda values: str(values["model"]))
def test_dni_with_an_oracle_head_equals_backprop(values: dict[str, Any]) -> None:
    values = values | {"network": {"dtype": "float64"}, "epochs": 3, "batch": 20}
    run = Run(**values, workers=4, feedback_every=1, dni={"feedback": "bootstrapped"})
    resolved = resolve(run, data_for(values))
    pipeline = Pipeline(resolved)

    for item in resolved.feed.items():
        pipeline.train_on(item)

    decoupled = {name: array for stage in pipeline.stages for name, array in stage.model_state().items()}
    assert_same(alone(values).network.arrays, decoupled, apart=1e-10)
    assert [executor.counters.updates for executor in pipeline.executors] == [resolved.steps_total] * 4
