"""The simulator: runs real schedules on paper, with costs for compute and latency, and says what they would achieve.

Event by event, no arrays, no clock. A stage is one server: while it computes, what arrives waits, and can still change
what the stage does next.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from decoupled.schedules.actions import (
    Action,
    Answer,
    Backward,
    Drop,
    EndFeed,
    Evaluate,
    Evict,
    Fence,
    Forward,
    Refine,
    Send,
    Skip,
    Snapshot,
    Source,
    Update,
)
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    FeedEnded,
    FenceArrived,
    GradientArrived,
    GradientsEnded,
    PeerFinished,
    PeerJoined,
)
from decoupled.schedules.interface import Place, Schedule


@dataclass(frozen=True, slots=True)
class Costs:
    """How long each action takes, and a message's way to a neighbour, in any one unit of time."""

    forward: float = 1.0
    backward: float = 1.0  # down to the weights' gradients
    input_gradient: float = 1.0  # on top of that, where it is sent upstream
    update: float = 0.0
    refine: float = 0.0
    latency: float = 0.0
    synthesize: float = 0.0  # on top of a backward pass from a synthetic gradient

    def of(self, action: Action) -> float:
        match action:
            case Forward() | Evaluate():
                return self.forward
            case Backward(source=source, send=send):
                return self.backward + self.input_gradient * send + self.synthesize * (source is Source.SYNTHETIC)
            case Update():
                return self.update
            case Refine():
                return self.refine
            case Evict() | Send() | Drop() | Skip() | Snapshot() | Fence() | Answer() | EndFeed():
                return 0.0


@dataclass(frozen=True, slots=True)
class Slot:
    """One action of one stage on the timeline."""

    stage: int
    action: Action
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a simulated run came to."""

    slots: tuple[Slot, ...]
    stages: int
    makespan: float
    peak_stash: tuple[int, ...]  # per stage: most microbatches held at once

    @property
    def utilisation(self) -> float:
        """The share of all stages' time that is spent computing."""
        return sum(slot.end - slot.start for slot in self.slots) / (self.stages * self.makespan or 1)

    @property
    def bubble(self) -> float:
        """The share of all stages' time that is spent waiting."""
        return 1 - self.utilisation

    def to_json(self) -> dict[str, object]:
        """The forecast as plain values."""
        slots = [{"stage": s.stage, "action": str(s.action), "start": s.start, "end": s.end} for s in self.slots]
        figures = {
            "makespan": self.makespan,
            "utilisation": self.utilisation,
            "bubble": self.bubble,
            "peak_stash": list(self.peak_stash),
        }
        return {"stages": self.stages} | figures | {"timeline": slots}

    def actions(self, stage: int) -> str:
        """The stage's actions in order, in short form: `F0 B0 U ...`."""
        return " ".join(str(slot.action) for slot in self.slots if slot.stage == stage)


@dataclass(slots=True)
class _SimulatedStage:
    """One stage's state in the simulation."""

    schedule: Schedule
    free_at: float = 0.0
    held: set[int] = field(default_factory=set)
    peak: int = 0
    said_finished: bool = False


class Deadlock(Exception):
    """The schedule stopped before its work was done; the text says which stages were stuck."""


def simulate(
    make: Callable[[Place], Schedule],
    stages: int,
    microbatches: int,
    costs: Costs | Sequence[Costs],
    window: int = 8,
    minibatch: int = 1,
) -> Forecast:
    """Runs `microbatches` through `stages` stages, with the same costs for all stages or one set for each.

    `minibatch` of them make one update under the synchronous schedules. The feed is instant and keeps the first stage's
    inbox full. Raises Deadlock when a schedule gets stuck.
    """
    each = [costs] * stages if isinstance(costs, Costs) else list(costs)
    return _Simulation(make, stages, each, window, minibatch).run(microbatches)


class _Simulation:
    def __init__(self, make: Callable[[Place], Schedule], stages: int, costs: list[Costs], window: int, minibatch: int) -> None:
        self._stages = [_SimulatedStage(make(Place(i, stages))) for i in range(stages)]
        self._costs, self._window, self._minibatch = costs, window, minibatch
        self._agenda: list[tuple[float, int, int, Event | None]] = []  # when, order, stage, what (None: look for work)
        self._order = count()
        self._slots: list[Slot] = []
        self._last = -1

    def run(self, microbatches: int) -> Forecast:
        self._last = microbatches - 1
        for stage, _ in enumerate(self._stages[:-1]):
            self._post(0.0, stage, PeerJoined(self._window))
        for m in range(microbatches):
            self._post(0.0, 0, self._feed(m))
        self._post(0.0, 0, FeedEnded())
        while self._agenda:
            now, _, stage, event = heapq.heappop(self._agenda)
            if event is not None:
                self._stages[stage].schedule.receive(event)
            if not (self._agenda and self._agenda[0][0] == now and self._agenda[0][2] == stage):
                self._work(stage, now)
        if stuck := [i for i, one in enumerate(self._stages) if not one.schedule.finished]:
            raise Deadlock(f"stages {stuck} still had work when nothing more could happen.")
        makespan = max((slot.end for slot in self._slots), default=0.0)
        return Forecast(tuple(self._slots), len(self._stages), makespan, tuple(one.peak for one in self._stages))

    def _feed(self, m: int, wants_gradient: bool = False) -> ActivationArrived:
        ends_minibatch = m == self._last or (m + 1) % self._minibatch == 0
        return ActivationArrived(m, ends_minibatch=ends_minibatch, wants_gradient=wants_gradient)

    def _post(self, when: float, stage: int, event: Event | None) -> None:
        if 0 <= stage < len(self._stages):
            heapq.heappush(self._agenda, (when, next(self._order), stage, event))

    def _work(self, stage: int, now: float) -> None:
        one = self._stages[stage]
        if one.free_at > now:
            return
        action = one.schedule.next_action()
        if action is None:
            if one.schedule.finished and not one.said_finished:
                one.said_finished = True
                self._post(now + self._costs[stage].latency, stage - 1, PeerFinished())
            return
        one.free_at = now + self._costs[stage].of(action)
        self._slots.append(Slot(stage, action, now, one.free_at))
        self._tell(stage, action, one, one.free_at)
        self._post(one.free_at, stage, None)

    def _tell(self, stage: int, action: Action, one: _SimulatedStage, done: float) -> None:
        """What the worker's fixed rules send when an action is done, and what it holds meanwhile."""
        there = done + self._costs[stage].latency
        match action:
            case Forward(m):
                one.held.add(m)
                one.peak = max(one.peak, len(one.held))
            case Backward(m, keep=False) | Refine(m) | Evict(m):
                one.held.discard(m)
        waiting = len(one.schedule.upstream.waiting)
        for to, event in self._messages(action, waiting):
            self._post(there, stage + to, event)

    def _messages(self, action: Action, waiting: int) -> list[tuple[int, Event]]:
        """What follows from an action: whether it goes to the next stage (1) or the one before (-1), and what it says there."""
        match action:
            case Forward(m, send, wants_gradient):
                credit: list[tuple[int, Event]] = [(-1, CreditGranted(1, waiting))]
                return [(1, self._feed(m, wants_gradient)), *credit] if send else credit
            case Send(m, wants_gradient):
                return [(1, self._feed(m, wants_gradient))]
            case Evaluate(m):
                return [(1, ActivationArrived(m, training=False)), (-1, CreditGranted(1, waiting))]
            case Backward(m, send=True):
                return [(-1, GradientArrived(m))]
            case Skip():
                return [(-1, CreditGranted(1))]
            case Fence(m):
                return [(1, FenceArrived(m))]
            case Answer(m):
                return [(-1, GradientsEnded(m))]
            case EndFeed():
                return [(1, FeedEnded())]
        return []
