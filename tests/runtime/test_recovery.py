"""Recovery: what follows when a worker is lost, silent or late, or a link breaks. All on a clock of the test's own."""

from collections.abc import Container

import pytest

from decoupled.runtime.membership import Membership, WorkerInfo
from decoupled.runtime.recovery import (
    BROKEN_S,
    FEED,
    LINK_S,
    READY_S,
    AssignAll,
    Decision,
    EndRun,
    Note,
    Recovery,
    Rejoin,
    RenewSnapshot,
    RollBack,
    StartAnother,
    StopWorker,
)
from decoupled.runtime.supervision import JOIN_S, Policy

STAGES = 3
POLICY = Policy(restarts_max=1, backoff_s=0.0, silent_s=1000.0, stall_s=2000.0)


class Run:
    """A run's members and its recovery, on a clock of which every second is looked at."""

    def __init__(self, rolls_back: bool = False, starts_workers: bool = True, policy: Policy = POLICY) -> None:
        self.members = Membership(STAGES, "1")
        self.recovery = Recovery(self.members, policy, rolls_back, starts_workers, 0.0)
        self.now = 0.0
        self._names = 0

    def join(self) -> list[Decision]:
        self._names += 1
        stage = self.members.join(WorkerInfo(str(self._names), "ipc:///x", "here", self._names), "1")
        assert isinstance(stage, int)
        return self.recovery.joined(stage)

    def ready(self, *stages: int) -> None:
        self.recovery.link_stands(FEED)
        for stage in stages:
            self.members.ready(stage, 0)
            self.recovery.ready(stage, self.now)

    def lose(self, stage: int) -> list[Decision]:
        self.members.leave(stage)
        return self.recovery.lost(stage, "it died", self.now)

    def wait(self, seconds: float, finished: Container[int] = ()) -> list[Decision]:
        """What is decided meanwhile."""
        found, end = list[Decision](), self.now + seconds
        while self.now < end:
            self.now += 0.5
            found += self.recovery.watch(self.now, finished)
        return found


def running(rolls_back: bool = False, starts_workers: bool = True, policy: Policy = POLICY) -> Run:
    """One in which every stage is ready."""
    run = Run(rolls_back, starts_workers, policy)
    for _ in range(STAGES):
        run.join()
    for stage in range(STAGES):
        run.recovery.assigned(stage, run.now)
    run.ready(*range(STAGES))
    return run


@pytest.mark.parametrize("rolls_back", [False, True])
def test_training_begins_when_every_stage_has_a_worker(rolls_back: bool) -> None:
    run = Run(rolls_back)

    assert [run.join() for _ in range(STAGES)] == [[], [], [AssignAll()]]


def test_a_worker_that_is_lost_before_training_begins_is_replaced_and_nobody_rolls_back() -> None:
    run = Run(rolls_back=True)
    run.join()
    run.lose(0)

    assert [run.join() for _ in range(STAGES)] == [[], [], [AssignAll()]]


def test_another_worker_rejoins_beside_neighbours_that_go_on() -> None:
    run = running()

    lost = run.lose(1)

    assert lost == [Note(1, "lost", "it died")]
    assert run.join() == [Rejoin(1)]


def test_all_roll_back_once_when_the_last_of_several_lost_workers_is_replaced() -> None:
    run = running(rolls_back=True)
    for stage in (0, 2):
        run.lose(stage)

    assert [run.join(), run.join()] == [[], [RollBack()]]


def test_a_stage_that_is_lost_more_often_than_it_may_be_ends_the_run_and_says_why() -> None:
    run = running()
    run.lose(1)
    run.join()

    (end,) = run.lose(1)

    assert isinstance(end, EndRun)
    assert "stage 1" in end.why
    assert "restarts_max (1)" in end.why
    assert "it died" in end.why


def test_a_broken_link_under_dni_renews_the_snapshot_and_nothing_else() -> None:
    run = running()

    assert run.recovery.link_broke(1, run.now) == [RenewSnapshot()]
    assert run.wait(10 * BROKEN_S) == []


@pytest.mark.parametrize(("stage", "name"), [(FEED, "the coordinator"), (1, "stage 1")])
def test_a_link_that_stays_down_is_told_of_once_for_each_break(stage: int, name: str) -> None:
    run = running()
    for _ in range(2):
        run.recovery.link_broke(stage, run.now)

        (told,) = run.wait(10 * LINK_S)

        assert isinstance(told, Note)
        assert f"from {name} to stage {stage + 1}" in told.detail


def test_a_link_that_stands_again_soon_is_not_told_of() -> None:
    run = running()
    run.recovery.link_broke(1, run.now)

    before = run.wait(LINK_S / 2)
    run.ready(1)

    assert [*before, *run.wait(10 * LINK_S)] == []


def test_a_link_to_a_worker_that_has_just_become_its_stage_may_take_as_long_as_any() -> None:
    run = running()
    run.lose(2)
    run.join()
    run.recovery.assigned(2, run.now)

    assert run.wait(2 * LINK_S) == []
    run.ready(2)
    (told,) = run.wait(2 * LINK_S)
    assert isinstance(told, Note)
    assert "from stage 1 to stage 2" in told.detail


def test_a_broken_link_otherwise_leads_to_one_rollback_however_often_it_is_reported() -> None:
    run = running(rolls_back=True)

    at_once = [run.recovery.link_broke(1, run.now) for _ in range(2)]

    assert at_once == [[], []], "the end of a worker may explain it"
    assert run.wait(10 * BROKEN_S) == [RollBack()]


def test_a_link_that_broke_in_the_attempt_before_leads_to_no_rollback() -> None:
    run = running(rolls_back=True)
    run.recovery.link_broke(1, run.now)

    run.recovery.attempt_begins()

    assert run.wait(10 * BROKEN_S) == []


def test_a_link_that_broke_with_its_worker_leads_to_no_rollback_before_that_is_replaced() -> None:
    run = running(rolls_back=True)
    run.recovery.link_broke(1, run.now)
    run.lose(1)

    assert run.wait(10 * BROKEN_S) == []
    assert run.join() == [RollBack()]


def started(starts_workers: bool) -> Run:
    """One in which a worker was lost, and another one has been started in its place."""
    run = running(starts_workers=starts_workers, policy=Policy(1, 0.0, 1000.0, 2000.0))
    run.lose(1)
    assert run.recovery.supervision.take_due(run.now) == [1]
    return run


def test_a_worker_that_was_started_and_never_joins_is_replaced_and_counts_as_lost() -> None:
    run = started(starts_workers=True)

    early = run.wait(JOIN_S)
    (late,) = run.wait(1)

    assert early == []
    assert isinstance(late, StartAnother)
    assert late.stage == 1
    (end,) = run.recovery.lost(late.stage, late.why, run.now)
    assert isinstance(end, EndRun), "it may be lost once only"


def test_a_worker_that_others_start_and_that_never_joins_is_said_once_and_waited_for() -> None:
    run = started(starts_workers=False)

    (said,) = run.wait(10 * JOIN_S)

    assert isinstance(said, Note)
    assert (said.stage, said.what) == (1, "still waiting")
    assert run.join() == [Rejoin(1)]


def test_nobody_is_blamed_for_the_time_in_which_this_process_slept() -> None:
    run = started(starts_workers=True)
    run.recovery.assigned(2, run.now)

    run.now += 10 * READY_S

    assert run.recovery.watch(run.now, ()) == []


def test_a_worker_that_joined_and_is_never_heard_is_replaced() -> None:
    run = running()
    run.lose(2)
    run.join()
    run.recovery.assigned(2, run.now)

    early = run.wait(READY_S)
    late = run.wait(1)

    assert early == []
    assert [decision.stage for decision in late if isinstance(decision, StopWorker)] == [2] * 2, "until it is lost"


def test_a_worker_is_not_late_while_the_next_stage_is_not_there_to_link_to() -> None:
    run = running()
    for stage in (1, 2):
        run.lose(stage)
    run.join()
    run.recovery.assigned(1, run.now)

    assert run.wait(3 * READY_S) == []


def test_a_silent_worker_is_noted_and_then_stopped_unless_it_has_finished() -> None:
    run = running(policy=Policy(1, 0.0, silent_s=2.0, stall_s=10.0))
    decisions = list[Decision]()
    for _ in range(12):
        decisions += run.wait(0.5, finished=[2])
        run.recovery.heard(1, 0.0, run.now)
    decisions += run.wait(4.5, finished=[2])

    noted = [(decision.stage, decision.what) for decision in decisions if isinstance(decision, Note)]
    stopped = [decision.stage for decision in decisions if isinstance(decision, StopWorker)]

    assert noted == [(0, "silent"), (1, "silent")]
    assert set(stopped) == {0, 2}
    assert run.recovery.heard(1, 0.0, run.now) == [Note(1, "back", "it reports again")]
