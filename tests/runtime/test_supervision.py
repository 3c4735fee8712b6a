"""Supervision: who is silent, who is stalled, and who may have a successor when. All on a clock of the test's own."""

import pytest

from decoupled.runtime.supervision import JOIN_S, Policy, Supervision

USUAL = Policy(restarts_max=3, backoff_s=0.5, silent_s=2.0, stall_s=10.0)


def lost_often(supervision: Supervision, times: int, every_s: float = 0.0, stage: int = 0) -> list[bool]:
    """Whether the stage may have another worker, after each of so many losses."""
    return [supervision.lost(stage, number * every_s) for number in range(times)]


def waits(supervision: Supervision, lost_at: float) -> float:
    """How long after its loss the worker of stage 0 is to be replaced."""
    moments = [lost_at + tenth / 10 for tenth in range(1000)]
    return next(moment for moment in moments if supervision.take_due(moment + 1e-9) == [0]) - lost_at


def test_nobody_is_silent_before_there_was_anything_to_hear() -> None:
    supervision = Supervision(2, USUAL)

    assert supervision.take_silent(1e6) == []
    assert supervision.stalled(1e6) == []


def test_a_silent_worker_is_flagged_once_and_again_only_after_it_was_heard() -> None:
    supervision = Supervision(2, USUAL)
    supervision.heard(0, 0.0)
    supervision.heard(1, 1.5)

    first = [supervision.take_silent(now) for now in (2.0, 2.1, 3.0)]
    supervision.heard(0, 3.0)
    second = [supervision.take_silent(now) for now in (5.0, 5.1)]

    assert first == [[], [0], []]
    assert second == [[1], [0]]


def test_a_stalled_worker_is_named_until_it_is_heard_or_lost() -> None:
    supervision = Supervision(2, USUAL)
    for stage in (0, 1):
        supervision.heard(stage, 0.0)

    stalled = [supervision.stalled(now) for now in (10.0, 10.1, 10.2)]
    supervision.heard(0, 10.2)
    supervision.lost(1, 10.2)

    assert stalled == [[], [0, 1], [0, 1]]
    assert supervision.stalled(10.3) == []


@pytest.mark.parametrize(
    ("longest", "silent_s", "stall_s"),
    [
        ([0.1] * 9, 2.0, 10.0),
        ([3.0, 3.0], 9.0, 30.0),
        ([3.0, 0.1, 3.0, 0.1], 9.0, 30.0),
        ([0.1, 60.0, 0.1], 2.0, 10.0),  # it was stopped meanwhile
        ([60.0], 2.0, 10.0),
        ([3.0, 3.0, *[0.0] * 9], 9.0, 30.0),  # it waits
        ([3.0] * 5 + [0.1] * 4, 2.0, 10.0),
    ],
)
def test_the_limits_grow_with_computations_but_not_with_a_pause(longest: list[float], silent_s: float, stall_s: float) -> None:
    supervision = Supervision(2, USUAL)

    for seconds in longest:
        supervision.computes(1, seconds)

    assert (supervision.silent_s, supervision.stall_s) == (silent_s, stall_s)


def test_a_computation_that_is_known_to_be_long_is_allowed_for_before_the_first() -> None:
    supervision = Supervision(2, Policy(restarts_max=3, backoff_s=0.5, silent_s=2.0, stall_s=10.0, computation_s=4.0))

    assert (supervision.silent_s, supervision.stall_s) == (12.0, 40.0)


def test_nothing_is_expected_of_a_worker_that_is_lost_until_its_successor_is_heard() -> None:
    supervision = Supervision(1, USUAL)
    supervision.heard(0, 0.0)
    supervision.lost(0, 1.0)

    supervision.take_due(100.0)
    supervision.joined(0)

    assert (supervision.take_silent(200.0), supervision.stalled(200.0)) == ([], [])
    supervision.heard(0, 200.0)
    assert supervision.take_silent(202.1) == [0]


def test_a_successor_is_due_after_the_backoff_and_started_once() -> None:
    supervision = Supervision(2, USUAL)

    supervision.lost(1, 10.0)

    assert [supervision.take_due(now) for now in (10.0, 10.4, 10.5, 10.6, 99.0)] == [[], [], [1], [], []]


def test_without_a_backoff_a_successor_is_due_at_once() -> None:
    supervision = Supervision(1, Policy(3, 0.0, 2.0, 10.0))

    supervision.lost(0, 10.0)

    assert supervision.take_due(10.0) == [0]


@pytest.mark.parametrize(
    ("backoff_s", "expected"),
    [(0.5, [0.5, 1, 2, 4, 8, 16, 30, 30]), (20.0, [20, 30, 30]), (45.0, [45, 45, 45])],
    ids=["from half a second", "close to the most", "longer than the most"],
)
def test_each_wait_is_twice_as_long_up_to_half_a_minute_unless_the_first_is_longer(
    backoff_s: float, expected: list[float]
) -> None:
    supervision, found = Supervision(1, Policy(100, backoff_s, 2.0, 10.0)), list[float]()

    for _ in expected:
        supervision.lost(0, 7.0)
        found.append(waits(supervision, 7.0))

    assert found == pytest.approx(expected)


def test_the_waits_of_one_stage_are_not_anothers() -> None:
    supervision = Supervision(2, USUAL)
    lost_often(supervision, 3, stage=1)

    supervision.lost(0, 0.0)

    assert supervision.take_due(0.5) == [0]


def test_a_stage_may_be_lost_as_often_as_the_policy_allows() -> None:
    assert lost_often(Supervision(2, USUAL), 5) == [True, True, True, False, False]
    assert lost_often(Supervision(2, Policy(0, 0.5, 2.0, 10.0)), 2) == [False, False]


def test_losses_of_one_stage_do_not_count_for_another() -> None:
    supervision = Supervision(2, USUAL)

    assert lost_often(supervision, 3, stage=0) == [True] * 3
    assert lost_often(supervision, 3, stage=1) == [True] * 3


def test_losses_count_for_ten_minutes() -> None:
    assert lost_often(Supervision(1, USUAL), 20, every_s=201.0) == [True] * 20
    assert lost_often(Supervision(1, USUAL), 6, every_s=199.0) == [True] * 3 + [False] * 3


def test_the_wait_is_short_again_when_losses_are_forgotten() -> None:
    supervision = Supervision(1, USUAL)
    lost_often(supervision, 3)

    supervision.lost(0, 601.0)

    assert waits(supervision, 601.0) == pytest.approx(0.5)


def test_a_worker_may_be_lost_more_often_than_a_number_can_be_doubled() -> None:
    supervision = Supervision(1, Policy(1_000_000, 0.0, 2.0, 10.0))

    assert all(lost_often(supervision, 3000, every_s=0.01))
    assert supervision.take_due(30.0) == [0]


def test_a_started_worker_is_expected_until_it_joins_or_is_lost() -> None:
    supervision = Supervision(3, USUAL)
    for stage in (0, 2):
        supervision.lost(stage, 0.0)

    before = supervision.expected()
    supervision.take_due(1.0)
    started = supervision.expected()
    supervision.joined(0)
    supervision.lost(2, 1.5)

    assert (before, started) == ([], [0, 2])
    assert supervision.expected() == []


def test_nobody_is_started_for_a_stage_that_another_worker_took_meanwhile() -> None:
    supervision = Supervision(1, USUAL)
    supervision.lost(0, 0.0)

    supervision.joined(0)

    assert supervision.take_due(100.0) == []


def test_a_started_worker_that_takes_too_long_to_join_is_named_once() -> None:
    supervision = Supervision(2, USUAL)
    supervision.lost(0, 0.0)
    supervision.take_due(1.0)

    found = [supervision.take_unjoined(now) for now in (1.0 + JOIN_S, 1.1 + JOIN_S, 10 * JOIN_S)]

    assert found == [[], [0], []]
    assert supervision.expected() == [0], "it may still come"


def test_a_worker_that_joined_or_was_given_up_is_not_waited_for() -> None:
    supervision = Supervision(2, USUAL)
    for stage in (0, 1):
        supervision.lost(stage, 0.0)
    supervision.take_due(1.0)

    supervision.joined(0)
    supervision.lost(1, 2.0)

    assert supervision.take_unjoined(10 * JOIN_S) == []


def test_each_worker_that_is_started_has_its_own_time_to_join() -> None:
    supervision = Supervision(1, USUAL)
    found = list[list[int]]()
    for at in (0.0, 100.0):
        supervision.lost(0, at)
        supervision.take_due(at + 1)
        found += [supervision.take_unjoined(at + 1 + JOIN_S), supervision.take_unjoined(at + 2 + JOIN_S)]

    assert found == [[], [0]] * 2
