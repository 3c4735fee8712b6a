"""Stages in a row in one thread, each handed what its neighbours sent.

Queue depth 1: a microbatch is fed only when the whole row is done with the one before.
"""

from collections.abc import Sequence

from decoupled.nn.stage import Stage
from decoupled.runtime.assignment import assign, build_schedule
from decoupled.runtime.executor import DOWNSTREAM, UPSTREAM, StageExecutor
from decoupled.runtime.feed import Item
from decoupled.runtime.records import Record
from decoupled.runtime.resolve import ResolvedRun
from decoupled.schedules.events import ActivationArrived, CreditGranted, GradientArrived, PeerJoined
from decoupled.telemetry.counters import Counters
from decoupled.tensors import Array
from decoupled.wire.messages import Message


class Pipeline:
    """All stages of a run, which the caller has made, each with a schedule of its own."""

    def __init__(self, resolved: ResolvedRun, stages: Sequence[Stage]) -> None:
        assignments = [assign(resolved, stage) for stage in range(len(stages))]
        self.stages = stages
        self._executors = [StageExecutor(s, a.place, Counters(a.place.stage)) for s, a in zip(stages, assignments, strict=True)]
        self._schedules = [build_schedule(assignment) for assignment in assignments]
        for schedule in self._schedules[:-1]:
            schedule.receive(PeerJoined(1))
        self._feed = resolved.feed

    def train(self) -> None:
        for item in self._feed.items():
            self._train_on(item)

    @property
    def updates(self) -> list[int]:
        """That each stage has made."""
        return [executor.counters.updates for executor in self._executors]

    @property
    def model_state(self) -> dict[str, Array]:
        """Of all stages together."""
        return {name: array for stage in self.stages for name, array in stage.model_state().items()}

    def _train_on(self, item: Item) -> None:
        """Feeds one microbatch and waits until it has gone down and its gradients have come up."""
        self._arrive(0, item.microbatch, item.training, item.x, item.y)
        down = range(len(self.stages))
        for i in (*down, *reversed(down)):
            while (action := self._schedules[i].next_action()) is not None:
                for peer, message in self._executors[i].perform(action):
                    self._hand_on(i, peer, message)
                if i > 0:
                    self._schedules[i - 1].receive(CreditGranted(1))

    def _hand_on(self, i: int, peer: str, message: Message) -> None:
        if peer == DOWNSTREAM:
            self._arrive(i + 1, message.microbatch, message.body["training"], *message.tensors)
        elif peer == UPSTREAM and i > 0 and self._executors[i - 1].accept_gradients(message.microbatch, message.tensors):
            self._schedules[i - 1].receive(GradientArrived(message.microbatch))

    def _arrive(self, i: int, microbatch: int, training: bool, x: Array, y: Array) -> None:
        self._executors[i].records[microbatch] = Record((x,), (y,), training)
        self._schedules[i].receive(ActivationArrived(microbatch, training))
