"""Overlap: how much of the time at least two workers compute."""

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.telemetry.overlap import Overlap
from decoupled.telemetry.spans import COLUMNS, Rows
from tests.telemetry.spans import spans

Edges = list[tuple[int, int]]


def share(*workers: Rows, known_to_ns: int = 1_000_000) -> float:
    overlap = Overlap(len(workers))
    for worker, rows in enumerate(workers):
        overlap.add(worker, rows, known_to_ns)
    return overlap.share


def test_workers_that_take_turns_do_not_overlap() -> None:
    assert share(spans((0, 10), (20, 30)), spans((10, 20), (30, 40))) == 0


def test_workers_that_always_compute_together_overlap_wholly() -> None:
    assert share(spans((5, 10), (10, 25)), spans((5, 25))) == 1


def test_the_share_is_of_the_time_from_the_first_start_to_the_last_end() -> None:
    """Together from 8 to 10 and from 20 to 25: 7 of 40 ns."""
    assert share(spans((0, 10), (20, 30)), spans((8, 12), (15, 25), (38, 40))) == pytest.approx(7 / 40)


def test_three_at_once_count_once() -> None:
    assert share(spans((0, 10)), spans((0, 10)), spans((5, 20))) == pytest.approx(10 / 20)


def test_a_single_worker_never_overlaps() -> None:
    assert share(spans((0, 10), (10, 20))) == 0


@pytest.mark.parametrize("kind", ["evaluate", "evict", "drop"])
def test_spans_without_training_do_not_count(kind: str) -> None:
    together = share(spans((0, 10)), spans((0, 100), kind=kind), spans((5, 10)))

    assert together == pytest.approx(5 / 10)


@pytest.mark.parametrize("kind", ["forward", "backward", "synthetic", "update", "refine", "send"])
def test_all_kinds_of_training_count(kind: str) -> None:
    assert share(spans((0, 10), kind=kind), spans((0, 10), kind=kind)) == 1


def test_nothing_measured_is_no_overlap() -> None:
    overlap = Overlap(2)
    overlap.add(0, spans(), 100)

    assert overlap.share == 0
    assert overlap.window_ns == (0, 0)


def test_what_a_silent_worker_may_still_report_is_not_decided_yet() -> None:
    overlap = Overlap(3)
    overlap.add(0, spans((0, 10)), 10)
    overlap.add(1, spans((0, 10)), 10)
    before = overlap.share

    overlap.add(2, spans((0, 4)), 10)

    assert before == 0
    assert overlap.share == 1


def test_the_window_opens_with_the_first_training_span_and_closes_with_the_last() -> None:
    overlap = Overlap(2)
    overlap.add(0, spans((30, 40), (50, 90)), 100)
    overlap.add(1, spans((20, 30), (60, 70)), 100)

    assert overlap.window_ns == (20, 90)


def worker_edges() -> st.SearchStrategy[Edges]:
    """The spans of a worker, which does one thing at a time."""
    steps = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)
    return steps.map(lambda pairs: list(pairwise(accumulate(length for pair in pairs for length in pair)))[::2])


def brute_force(workers: list[Edges]) -> float:
    """The overlap, counted nanosecond by nanosecond."""
    every = [edge for edges in workers for edge in edges]
    if not every:
        return 0.0
    first, last = min(start for start, _ in every), max(end for _, end in every)
    depths = [sum(any(a <= at < b for a, b in edges) for edges in workers) for at in range(first, last)]
    return sum(depth >= 2 for depth in depths) / len(depths) if depths else 0.0


def rows(edges: Edges) -> Rows:
    return spans(*edges) if edges else np.empty((0, len(COLUMNS)), np.int64)


@given(st.lists(worker_edges(), min_size=1, max_size=4))
def test_the_sweep_agrees_with_counting(workers: list[Edges]) -> None:
    assert share(*map(rows, workers)) == pytest.approx(brute_force(workers))


@given(st.lists(worker_edges(), min_size=1, max_size=3), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 120))))
def test_reports_in_pieces_give_what_one_report_gives(workers: list[Edges], reports: list[tuple[int, int]]) -> None:
    """Workers report in any order, each up to a moment of its own; a span is reported once it has ended."""
    overlap, reported = Overlap(len(workers)), [0] * len(workers)
    whole = 10_000
    for worker, at in [*reports, *((worker, whole) for worker in range(len(workers)))]:
        if worker >= len(workers):
            continue
        ended = sum(end <= at for _, end in workers[worker])
        since, reported[worker] = reported[worker], max(ended, reported[worker])
        pending = workers[worker][reported[worker] :]
        known_to = min([at, *(start for start, _ in pending)])
        overlap.add(worker, rows(workers[worker][since : reported[worker]]), known_to)

    assert overlap.share == pytest.approx(brute_force(workers))
