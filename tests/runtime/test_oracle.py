"""The oracle test: with a head that returns the true gradient, dni is backprop.

Queue depth 1 means that a microbatch is fed only when the whole pipeline is done with the one before.
"""

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.nn.losses import LOSSES
from decoupled.nn.parameters import Array
from decoupled.nn.stage import Stage
from decoupled.runtime.assignment import assign, build_schedule, build_stage
from decoupled.runtime.blueprint import draw
from decoupled.runtime.performer import DOWNSTREAM, UPSTREAM, Performer
from decoupled.runtime.single import train_single
from decoupled.schedules.events import ActivationArrived, CreditGranted, GradientArrived, PeerJoined, Side
from decoupled.telemetry.counters import Counters
from decoupled.wire.messages import Kind
from tests.datasets import blobs


class Oracle:
    """A head that knows the stages below and works out what backprop would send up."""

    def __init__(self, below: list[Stage]) -> None:
        self._below = below

    def synthesize(self, h: Array, targets: Array) -> Array:
        statistics = [{name: a.copy() for name, a in layer.state.items()} for s in self._below for layer in s.layers]
        passes, x = [], h
        for stage in self._below:
            passes.append(stage.forward(x))
            x = passes[-1].output
        _, gradient = self._below[-1].loss.value_and_gradient(x, targets)
        for stage, passed in zip(reversed(self._below), reversed(passes), strict=True):
            upward = stage.backward(passed, gradient, want_dx=True)
            assert upward is not None
            gradient = upward
        for layer, kept in zip((layer for s in self._below for layer in s.layers), statistics, strict=True):
            for name, array in kept.items():
                layer.state[name][...] = array  # looking ahead leaves no trace
        return gradient

    def update(self, samples: int, decay: float) -> None:
        """Nothing to learn."""

    def refine(self, h: Array, targets: Array, gradient: Array, decay: float) -> Array:
        return gradient


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_dni_with_an_oracle_head_equals_backprop(activation: str, batch_norm: bool) -> None:
    network = {"activation": activation, "batch_norm": batch_norm, "dtype": "float64"}
    run = Run(hidden=(12, 10, 8), epochs=3, batch=20, network=network, feedback_every=1, dni={"feedback": "bootstrapped"})
    blueprint = draw(run, blobs())
    assignments = [assign(blueprint, stage) for stage in range(4)]
    stages = [build_stage(assignment) for assignment in assignments]
    for i, stage in enumerate(stages[:-1]):
        stage.head = Oracle(stages[i + 1 :])
    performers = [Performer(s, a.place, Counters(a.place.stage)) for s, a in zip(stages, assignments, strict=True)]
    schedules = [build_schedule(assignment) for assignment in assignments]
    for schedule in schedules[:-1]:
        schedule.receive(PeerJoined(Side.DOWNSTREAM, 1))

    def settle(i: int) -> None:
        """Lets stage i work, and then its neighbours with what it sent."""
        while (action := schedules[i].next_action()) is not None:
            outgoing = performers[i].perform(action)
            for peer, message in outgoing:
                if peer == DOWNSTREAM:
                    performers[i + 1].accept(message.microbatch, *message.tensors)
                    schedules[i + 1].receive(ActivationArrived(message.microbatch, message.body["training"]))
                elif peer == UPSTREAM and i > 0 and message.kind is Kind.CREDIT:
                    schedules[i - 1].receive(CreditGranted(1))
                elif peer == UPSTREAM and i > 0 and performers[i - 1].accept_gradient(message.microbatch, *message.tensors):
                    schedules[i - 1].receive(GradientArrived(message.microbatch))

    from decoupled.runtime.feed import stream

    for item in stream(blueprint.dataset, run.batch, run.epochs, run.seed, 0):
        performers[0].accept(item.microbatch, item.x, item.y)
        schedules[0].receive(ActivationArrived(item.microbatch, item.training))
        for i in (0, 1, 2, 3, 2, 1, 0):
            settle(i)
    alone = train_single(draw(run.model_copy(update={"schedule": "single"}), blobs()), lambda progress: None)

    decoupled = {name: array for stage in stages for name, array in stage.arrays().items()}
    for name, array in alone.network.arrays.items():
        np.testing.assert_allclose(decoupled[name], array, rtol=0, atol=1e-10, err_msg=name)
    assert [p.counters.updates for p in performers] == [30] * 4
    assert isinstance(stages[-1].loss, type(LOSSES["softmax"]()))
