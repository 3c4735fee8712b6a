"""The oracle test: with a head that returns the true gradient, dni is backprop.

Queue depth 1 means that a microbatch is fed only when the whole pipeline is done with the one before.
"""

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.nn.dense import DenseStage
from decoupled.nn.parameters import Array
from decoupled.runtime.assignment import assign, build_schedule
from decoupled.runtime.executor import DOWNSTREAM, UPSTREAM, StageExecutor
from decoupled.runtime.feed import Item
from decoupled.runtime.records import Record
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.runtime.single import train_single
from decoupled.schedules.events import ActivationArrived, CreditGranted, GradientArrived, PeerJoined
from decoupled.telemetry.counters import Counters
from decoupled.wire.messages import Message
from tests.datasets import blobs
from tests.stages import dense_stage


class Oracle:
    """A head that knows the stages below and works out what backprop would send up."""

    def __init__(self, below: list[DenseStage]) -> None:
        self._below = below

    def synthesize(self, h: Array, targets: Array) -> Array:
        statistics = [{name: a.copy() for name, a in layer.state.items()} for s in self._below for layer in s.layers]
        passes, x = [], h
        for stage in self._below:
            passes.append(stage.forward((x,)))
            (x,) = passes[-1].outputs
        (gradient,) = self._below[-1].loss(passes[-1], (targets,)).gradients
        for stage, passed in zip(reversed(self._below), reversed(passes), strict=True):
            for layer, cache in zip(reversed(stage.layers), reversed(passed.saved.of_layers), strict=True):
                upward = layer.backward(gradient, cache, want_dx=True)  # the stage would take it for one of its own
                assert upward is not None
                gradient = upward
        for layer, kept in zip((layer for s in self._below for layer in s.layers), statistics, strict=True):
            for name, array in kept.items():
                layer.state[name][...] = array  # looking ahead leaves no trace
        return np.asarray(gradient)

    state: dict[str, Array] = {}

    @property
    def work(self) -> tuple[int, int]:
        return 0, 0

    def update(self, samples: int, decay: float) -> None:
        """Nothing to learn."""

    def refine(self, h: Array, targets: Array, gradient: Array, decay: float) -> Array:
        return gradient


class Pipeline:
    """Stages with oracle heads, each handed what its neighbours sent."""

    def __init__(self, resolved: ResolvedRun) -> None:
        assignments = [assign(resolved, stage) for stage in range(len(resolved.stages))]
        self.stages = [dense_stage(assignment) for assignment in assignments]
        for i, stage in enumerate(self.stages[:-1]):
            stage.head = Oracle(self.stages[i + 1 :])
        self.executors = [
            StageExecutor(s, a.place, Counters(a.place.stage)) for s, a in zip(self.stages, assignments, strict=True)
        ]
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


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_dni_with_an_oracle_head_equals_backprop(activation: str, batch_norm: bool) -> None:
    network = {"activation": activation, "batch_norm": batch_norm, "dtype": "float64"}
    run = Run(hidden=(12, 10, 8), epochs=3, batch=20, network=network, feedback_every=1, dni={"feedback": "bootstrapped"})
    resolved = resolve(run, blobs())
    pipeline = Pipeline(resolved)

    for item in resolved.feed.items():
        pipeline.train_on(item)
    alone = train_single(resolve(run.model_copy(update={"schedule": "single"}), blobs()), lambda progress: None)

    decoupled = {name: array for stage in pipeline.stages for name, array in stage.model_state().items()}
    for name, array in alone.network.arrays.items():
        np.testing.assert_allclose(decoupled[name], array, rtol=0, atol=1e-10, err_msg=name)
    assert [executor.counters.updates for executor in pipeline.executors] == [30] * 4
