"""SnapshotBarrier: when a marker is due, and when all parts of one are there."""

import pytest

from decoupled.runtime.snapshot_barrier import SnapshotBarrier


def begun(every: int | None = None, every_s: float = 10.0, at: float = 100.0) -> SnapshotBarrier:
    """For two stages, with training begun at the first microbatch."""
    snapshots = SnapshotBarrier(2, every, every_s)
    snapshots.begin_at(at)
    return snapshots


def taken(snapshots: SnapshotBarrier, microbatch: int, now: float = 100.0) -> SnapshotBarrier:
    """The same, after a snapshot that became whole."""
    snapshots.begin(microbatch, now)
    assert [snapshots.add(stage, microbatch) for stage in (1, 0)] == [False, True]
    return snapshots


def test_by_number_one_is_due_after_every_so_many_microbatches() -> None:
    snapshots = begun(every=4)

    assert [m for m in range(8) if snapshots.is_due(m, 1e9)] == [3, 4, 5, 6, 7]
    taken(snapshots, 5)
    assert [m for m in range(5, 12) if snapshots.is_due(m, 1e9)] == [9, 10, 11]


def test_by_number_time_does_not_matter_and_by_time_numbers_do_not() -> None:
    assert not begun(every=4, every_s=1.0).is_due(2, now=1e9)
    assert not begun(every_s=10.0).is_due(10**9, now=109.0)


def test_by_time_one_is_due_after_every_so_many_seconds() -> None:
    snapshots = begun(every_s=10.0)

    assert [now for now in (100.0, 109.9, 110.0, 111.0) if snapshots.is_due(5, now)] == [110.0, 111.0]
    taken(snapshots, 5, now=112.0)
    assert [now for now in (112.0, 121.9, 122.0) if snapshots.is_due(6, now)] == [122.0]


def test_zero_seconds_are_never_unless_one_is_wanted() -> None:
    snapshots = begun(every_s=0.0)

    never = snapshots.is_due(5, 1e9)
    snapshots.want()

    assert not never
    assert snapshots.is_due(5, 100.0)


def test_what_is_wanted_is_due_until_it_begins() -> None:
    snapshots = begun()
    snapshots.want()

    before = [snapshots.is_due(m, 100.0) for m in (0, 1)]
    taken(snapshots, 1)

    assert before == [True, True]
    assert not snapshots.is_due(2, 100.0)


def test_what_is_wanted_during_one_is_due_when_that_is_whole() -> None:
    snapshots = begun()
    snapshots.begin(5, 100.0)
    snapshots.want()

    during = snapshots.is_due(6, 1e9)
    for stage in (0, 1):
        snapshots.add(stage, 5)

    assert not during
    assert snapshots.is_due(6, 100.0)


def test_a_run_that_goes_on_counts_from_where_it_does() -> None:
    snapshots = begun(every=10)
    snapshots.begin_at(500.0, microbatch=39)

    assert [m for m in (40, 48, 49, 50) if snapshots.is_due(m, 500.0)] == [49, 50]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_is_whole_when_each_stage_has_given_its_part(order: tuple[int, int]) -> None:
    snapshots = begun()
    snapshots.begin(5, 100.0)

    assert [snapshots.add(stage, 5) for stage in order] == [False, True]


def test_a_part_that_comes_twice_counts_once() -> None:
    snapshots = begun()
    snapshots.begin(5, 100.0)

    assert [snapshots.add(stage, 5) for stage in (0, 0, 1, 1)] == [False, False, True, False]


def test_parts_of_another_are_not_waited_for() -> None:
    snapshots = begun()
    snapshots.begin(5, 100.0)
    snapshots.give_up()
    snapshots.begin(9, 101.0)

    assert [snapshots.waits_for(0, m) for m in (5, 9, 13)] == [False, True, False]
    assert [snapshots.add(stage, 5) for stage in (0, 1)] == [False, False]
    assert [snapshots.add(stage, 9) for stage in (0, 1)] == [False, True]


def test_one_that_was_given_up_is_waited_for_no_more_and_the_next_can_begin() -> None:
    snapshots = begun(every=4)
    snapshots.begin(5, 100.0)
    snapshots.add(0, 5)

    snapshots.give_up()

    assert not snapshots.waits_for(1, 5)
    assert not snapshots.add(1, 5)
    assert [m for m in (8, 9) if snapshots.is_due(m, 100.0)] == [9]


def test_nothing_is_waited_for_before_the_first_begins() -> None:
    snapshots = begun()

    assert not snapshots.waits_for(0, -1)
    assert not snapshots.add(0, -1)
