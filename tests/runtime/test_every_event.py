"""A small run in which something breaks at every event, alone or in pairs: it ends, and its account and evaluations are whole.

An event is a turn of the coordinator or of one worker in the simulated cluster, which looks over every worker after it.
Each seed takes a few of the many cases.
"""

import random
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

from decoupled.config import Run
from decoupled.transport.simulated import Faults
from tests.cluster import Cluster
from tests.datasets import blobs

EPOCHS, TRAIN, STAGES = 2, 60, 3
SECONDS_MAX = 60.0  # of simulated time; an undisturbed run takes 0.4
Strike: TypeAlias = Callable[[Cluster], object]
STRIKES: dict[str, Strike] = {
    **{f"cut {s}-{s + 1} for {t} s": partial(Cluster.cut, stage=s, refuse_s=t) for s in (-1, 0, 1) for t in (0.0, 0.03, 1.5)},
    **{f"kill {stage}": partial(Cluster.kill, stage=stage) for stage in range(STAGES)},
    "lose a gradient": lambda cluster: cluster.network.lose_gradient(),
}
KINDS = [(o, f) for o in ("block", "drop-oldest", "latest") for f in ("chained", "bootstrapped", "adaptive", "corrected")]
DATA = blobs(train=TRAIN, test=20)
STEP = 3001  # a seed takes every so many-th of the cases; `--seed 0 --seeds 3001` takes them all


class Disturbed:
    """A run with something planned for some of its events."""

    def __init__(self, overflow: str, feedback: str, plan: dict[int, Strike], seed: int, stash_max: int = 8) -> None:
        dni = {"overflow": overflow, "feedback": feedback, "stash_max": stash_max}
        values: dict[str, Any] = {"hidden": (4, 4), "epochs": EPOCHS, "batch": 10, "feedback_every": 2, "link": {"window": 3}}
        run = Run(**values, dni=dni, checkpoint={"every": 4}, runtime={"evaluate_every": 1})
        self._plan, self.events = plan, 0
        self.cluster = Cluster(run, DATA, seed, Faults(latency_s=0.01, notice_s=0.05), on_event=self._happen)

    def _happen(self) -> None:
        self.events += 1
        strike = self._plan.get(self.events)
        if strike is not None and self._is_whole:
            strike(self.cluster)

    @property
    def _is_whole(self) -> bool:
        """There are links to cut and workers to kill at every stage."""
        coordinator = self.cluster.coordinator
        return coordinator.is_training and not coordinator.is_done and coordinator.group.members.is_complete

    def run(self) -> None:
        """Raises AssertionError when the run does not end, or something is missing in what came of it."""
        self.cluster.run(SECONDS_MAX)
        report = self.cluster.coordinator.report()
        for stage, detail in enumerate(report.workers_detail):
            assert detail.samples + detail.samples_missed == EPOCHS * TRAIN, f"stage {stage}"
            assert len(report.account.trained[stage]) + detail.missed == len(report.account.fed), f"stage {stage}"
        assert [evaluation.epoch for evaluation in report.evaluations] == list(range(1, EPOCHS + 1))


@cache
def events_of(overflow: str, feedback: str) -> int:
    """How many events an undisturbed run of that kind has."""
    quiet = Disturbed(overflow, feedback, {}, seed=0)
    quiet.run()
    return quiet.events


def cases() -> list[tuple[str, str, str, int]]:
    """Everything that can strike, at every event, under every kind of feedback and overflow."""
    return [(*kind, name, event) for kind in KINDS for name in STRIKES for event in range(1, events_of(*kind) + 1)]


def test_something_breaks_at_one_event(seed: int) -> None:
    for overflow, feedback, name, event in cases()[seed % STEP :: STEP]:
        try:
            Disturbed(overflow, feedback, {event: STRIKES[name]}, seed).run()
        except Exception as error:
            raise AssertionError(f"{overflow}, {feedback}, {name} at event {event}") from error


def test_something_breaks_at_two_events(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(10):
        overflow, feedback = rng.choice(KINDS)
        plan = {rng.randint(1, events_of(overflow, feedback)): rng.choice(list(STRIKES)) for _ in range(2)}
        stash_max = rng.choice([1, 2, 8])
        try:
            Disturbed(overflow, feedback, {e: STRIKES[name] for e, name in plan.items()}, seed, stash_max).run()
        except Exception as error:
            raise AssertionError(f"{overflow}, {feedback}, {plan}, stash_max {stash_max}") from error


class LostAtTheEnd(Disturbed):
    """A run in which the host of a stage is lost when that has finished and the next one has not."""

    def __init__(self, stage: int, overflow: str, feedback: str) -> None:
        super().__init__(overflow, feedback, {}, seed=0)
        self._stage, self.has_struck = stage, False

    def _happen(self) -> None:
        this, below = self.cluster.coordinator.group.attempt.results[self._stage : self._stage + 2]
        if this.is_whole and not below.is_whole and not self.has_struck:
            self.has_struck = True
            self.cluster.cut(self._stage)
            self.cluster.kill(self._stage)


def test_a_replacement_tells_the_end_of_the_feed_when_that_was_lost_with_a_worker_that_had_finished() -> None:
    runs = [LostAtTheEnd(stage, *kind) for stage in range(STAGES - 1) for kind in KINDS]
    for run in runs:
        run.run()

    assert all(run.has_struck for run in runs)


def test_the_strikes_really_strike() -> None:
    """A killed worker is replaced, and a link that is cut delays the run for as long as it is refused."""
    killed = Disturbed("block", "chained", {150: STRIKES["kill 1"]}, seed=0)
    cut, quiet = (Disturbed("block", "chained", plan, seed=0) for plan in ({150: STRIKES["cut 0-1 for 1.5 s"]}, {}))
    for disturbed in (killed, cut, quiet):
        disturbed.run()

    assert [detail.restarts for detail in killed.cluster.coordinator.report().workers_detail] == [0, 1, 0]
    assert cut.cluster.network.now > quiet.cluster.network.now + 1
