"""Schedules whose neighbours are lost and come again, thousands of times: no sockets, no arrays, only decisions."""

import random
from collections import deque

from decoupled.schedules.actions import Action, Answer, Backward, EndFeed, Evaluate, Fence, Forward, Send, Skip, Snapshot
from decoupled.schedules.catalogue import Settings, make
from decoupled.schedules.dni import Dni
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    FeedEnded,
    FenceArrived,
    GradientArrived,
    GradientsEnded,
    MarkerArrived,
    PeerFinished,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.interface import Place, Schedule

STAGES, MICROBATCHES, WINDOW = 3, 12, 3
LOST, JOINED = PeerLost(), PeerJoined(WINDOW)


class Line:
    """Stages joined by queues of which any may deliver next, and of which any stage may be lost."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self._settings, self._rng = settings, rng
        self.stages: list[Schedule] = [make("dni", Place(stage, STAGES), settings) for stage in range(STAGES)]
        self.down: list[deque[Event]] = [deque() for _ in range(STAGES)]  # to each stage, from above
        self.up: list[deque[Event]] = [deque() for _ in range(STAGES)]  # to each stage, from below
        self.trained: list[list[int]] = [[] for _ in range(STAGES)]  # by each stage's present worker
        self.snapshots: list[list[int]] = [[] for _ in range(STAGES)]
        self._inbox = [0] * STAGES  # what each has received and not taken
        self._room = [WINDOW] * STAGES  # what each may still be sent
        self._is_told_finished = [False] * STAGES
        self._cut_off: set[int] = set()  # stages whose upstream still sends to the dead
        self._fed = 0
        for stage in self.stages[:-1]:
            stage.receive(JOINED)

    def feed(self) -> None:
        """Sends the first stage what fits, a marker now and then, and at last the end."""
        while self._room[0] > 0 and self._fed < MICROBATCHES:
            self.down[0].append(self._activation(self._fed))
            self._room[0] -= 1
            self._fed += 1
            if self._fed % 5 == 0:
                self.down[0].append(MarkerArrived(self._fed - 1))
            if self._fed == MICROBATCHES:
                self.down[0].append(FeedEnded())

    def _activation(self, m: int) -> ActivationArrived:
        return ActivationArrived(m, training=m % 4 != 3)

    def lose(self, stage: int) -> None:
        """The stage's worker vanishes with all that was under way from and to it, and another takes its place."""
        self.stages[stage] = make("dni", Place(stage, STAGES), self._settings)
        self.trained[stage] = []
        self._is_told_finished[stage] = False
        self.down[stage].clear()
        self.up[stage].clear()
        self._inbox[stage], self._room[stage] = 0, WINDOW
        self._cut_off.discard(stage + 1)
        if stage > 0:
            self._cut_off.add(stage)
            self.up[stage - 1] = deque([LOST, JOINED])  # the link keeps order: what the dead one said comes first, or never
        elif self._fed == MICROBATCHES:
            self.down[0].append(FeedEnded())
        if stage < STAGES - 1:
            arrived = self._rng.randint(0, len(self.down[stage + 1]))
            self.down[stage + 1] = deque(list(self.down[stage + 1])[:arrived])
            waiting = self._inbox[stage + 1] + sum(isinstance(event, ActivationArrived) for event in self.down[stage + 1])
            self._room[stage + 1] = WINDOW - waiting
            self.stages[stage].receive(PeerJoined(WINDOW, room=WINDOW - waiting))

    def turn(self) -> bool:
        """Delivers one event somewhere and lets that stage work; False when there is none."""
        self.feed()
        ready = [queue for queue in (*self.down, *self.up) if queue]
        if not ready:
            return False
        queue = self._rng.choice(ready)
        way, stage = next(
            (way, i) for way, queues in (("down", self.down), ("up", self.up)) for i, q in enumerate(queues) if q is queue
        )
        event = queue.popleft()
        if isinstance(event, GradientArrived) and self._rng.random() < 0.2:
            return True  # lost, and nobody says so
        self._inbox[stage] += way == "down" and isinstance(event, ActivationArrived)
        self.stages[stage].receive(event)
        if event is JOINED:
            self._cut_off.discard(stage + 1)
        self._work(stage)
        return True

    def _work(self, stage: int) -> None:
        while (action := self.stages[stage].next_action()) is not None:
            self._perform(stage, action)
        if stage > 0 and self.stages[stage].finished and not self._is_told_finished[stage]:
            self._is_told_finished[stage] = True
            self.up[stage - 1].append(PeerFinished())

    def _perform(self, stage: int, action: Action) -> None:
        match action:
            case Skip():
                self._take(stage)
            case Forward(m, send):
                self._take(stage)
                if send:
                    self._send(stage, self._activation(m))
            case Evaluate(m) | Send(m):
                if isinstance(action, Evaluate):
                    self._take(stage)
                self._send(stage, self._activation(m))
            case Snapshot(m):
                self.snapshots[stage].append(m)
                self._tell(stage, MarkerArrived(m))
            case Backward(m, send=send):
                self.trained[stage].append(m)
                if send:
                    self.up[stage - 1].append(GradientArrived(m))
            case _:
                self._say(stage, action)

    def _say(self, stage: int, action: Action) -> None:
        match action:
            case Fence(m):
                self._tell(stage, FenceArrived(m))
            case Answer(m):
                self.up[stage - 1].append(GradientsEnded(m))
            case EndFeed():
                self._tell(stage, FeedEnded())

    def _take(self, stage: int) -> None:
        self._inbox[stage] -= 1
        self._room[stage] += 1
        if stage > 0:
            self.up[stage - 1].append(CreditGranted(1))

    def _send(self, stage: int, event: ActivationArrived) -> None:
        if stage < STAGES - 1 and stage + 1 not in self._cut_off:
            self._room[stage + 1] -= 1
            assert self._room[stage + 1] >= 0, "more was sent than the inbox holds"
            self._tell(stage, event)

    def _tell(self, stage: int, event: Event) -> None:
        if stage < STAGES - 1 and stage + 1 not in self._cut_off:
            self.down[stage + 1].append(event)


def settings_of(rng: random.Random) -> Settings:
    return Settings(
        feedback_every=rng.choice([1, 2, 3]),
        stash_max=rng.choice([1, 2, 8]),
        feedback=rng.choice(["chained", "bootstrapped"]),
        overflow=rng.choice(["block", "drop-oldest", "latest"]),
    )


def test_whoever_is_lost_when_all_stages_end_and_no_inbox_overflows(seed: int) -> None:
    rng = random.Random(seed)
    line, losses = Line(settings_of(rng), rng), rng.randint(1, 5)
    while line.turn():
        if losses and rng.random() < 0.05:
            line.lose(rng.randrange(STAGES))
            losses -= 1
    for number, stage in enumerate(line.stages):
        assert stage.finished, f"stage {number} is stuck"
        assert len(set(line.trained[number])) == len(line.trained[number]), "trained twice"
        assert all(m % 4 != 3 for m in line.trained[number]), "trained on an evaluation"
        marked = line.snapshots[number]
        assert marked == sorted(marked), "markers overtook one another"


def test_the_line_really_loses_and_really_trains() -> None:
    rng = random.Random(1)
    line = Line(Settings(), rng)
    assert isinstance(line.stages[1], Dni)
    before = line.stages[1]
    while len(line.trained[2]) < 4:
        line.turn()
    line.lose(1)
    while line.turn():
        pass

    assert line.stages[1] is not before
    assert 0 < len(line.trained[1]) < len(line.trained[0]) == 9
