"""The history of a run, as it is told to a viewer that comes late."""

import json
from itertools import pairwise

import pytest

from decoupled.errors import UsageError
from decoupled.watch.history import CELLS_MAX, EVENTS_MAX, EVICTED_EVERY_S, POINTS_MAX, RunHistory
from decoupled.watch.records import parse
from tests.watch.moments import evaluation, lost, moment, values, worker


def history(*seconds: float) -> RunHistory:
    made = RunHistory()
    for second in seconds:
        made.add(moment(second))
    return made


def test_before_the_first_record_there_is_nothing_to_tell() -> None:
    empty = RunHistory()

    assert (empty.now(), empty.points(), empty.evaluations(), empty.totals()) == ({}, {}, [], [])
    assert empty.cells() == {"ms": 5, "end": 0, "strips": []}


def test_the_last_moment_is_now_and_all_of_them_are_the_history() -> None:
    told = history(0.25, 0.5, 0.75)

    assert (told.now()["seconds"], told.number) == (0.75, 3)
    assert told.points()["seconds"] == [0.25, 0.5, 0.75]
    assert told.points()["busy"] == [[0.75, 0.75]] * 3
    json.dumps([told.now(), told.points(), told.cells()], allow_nan=False)


def test_a_long_history_is_thinned_out_and_keeps_its_length() -> None:
    told = history(*(number / 4 for number in range(1, 5 * POINTS_MAX)))

    seconds = told.points()["seconds"]
    assert POINTS_MAX / 2 <= len(seconds) <= POINTS_MAX
    assert seconds[0] < 5
    assert seconds[-1] > 5 * POINTS_MAX / 4 - 5
    assert len({round(after - before, 6) for before, after in pairwise(seconds)}) == 1


def test_cells_add_up_and_what_is_missing_between_them_is_marked() -> None:
    told = RunHistory()

    told.add(moment(1.0, cell="F9", cells=2, cells_end=100))
    told.add(moment(1.1, cell="B9", cells=2, cells_end=102))
    told.add(moment(1.2, cell="S9", cells=1, cells_end=105))

    assert told.cells() == {"ms": 5, "end": 105, "strips": ["F9F9B9B9?0?0S9"] * 2}
    assert told.cells(2)["strips"] == ["?0S9"] * 2
    assert told.cells(0)["strips"] == ["", ""]


def test_a_record_without_cells_says_nothing_of_when_they_begin() -> None:
    told = RunHistory()

    told.add(moment(0.0, cells=0, cells_end=0))
    told.add(moment(0.25, cell="F9", cells=2, cells_end=359_065_814_845))

    assert told.cells()["strips"] == ["F9F9"] * 2


def test_only_the_last_cells_are_kept() -> None:
    told = RunHistory()

    for number in range(3):
        told.add(moment(number, cells=CELLS_MAX // 2 + 1, cells_end=(number + 1) * (CELLS_MAX // 2 + 1)))

    assert [len(text) for text in told.cells()["strips"]] == [2 * CELLS_MAX] * 2


def test_evaluations_are_told_by_epoch_in_whatever_order_they_came() -> None:
    told = RunHistory()

    told.add(moment(1.0, evaluations=[evaluation(2, 0.9)]))
    told.add(moment(2.0, evaluations=[evaluation(1, 1.5, None)]))

    assert [(one["epoch"], one["accuracy"]) for one in told.evaluations()] == [(1, None), (2, 0.9)]
    assert [one["epoch"] for one in told.evaluations(known={2})] == [1]


def test_totals_of_a_stage_never_get_less() -> None:
    told = RunHistory()

    for samples in (640, 1280, 320, 640):  # the third is a successor's, from a checkpoint
        told.add(moment(1.0, workers=[worker(0, samples=samples), worker(1)]))

    assert [totals["samples"] for totals in told.totals()] == [1280 + 640, 640]
    assert told.now()["workers"][0]["samples"] == 640


def test_incidents_are_events_and_told_once_however_often_they_are_recorded() -> None:
    told = RunHistory()

    told.add(moment(1.0, incidents=[lost(0.9)]))
    told.add(moment(2.0, incidents=[lost(0.9), lost(1.9)]))

    assert [(event.seconds, event.what) for event in told.events] == [(0.0, "began"), (0.9, "lost"), (1.9, "lost")]
    assert told.events_number == 3


def test_a_checkpoint_is_an_event_when_it_is_another() -> None:
    told = RunHistory()

    for number, checkpoint in enumerate((None, 63, 63, 1270)):
        told.add(moment(number + 1.0, checkpoint=checkpoint))

    found = [(event.seconds, event.detail) for event in told.events if event.what == "checkpoint"]
    assert found == [(2.0, "after microbatch 63"), (4.0, "after microbatch 1,270")]


def test_evicted_gradients_are_told_now_and_then_with_their_number() -> None:
    told = RunHistory()

    for number in range(5):
        told.add(moment(number * EVICTED_EVERY_S / 2, workers=[worker(0), worker(1, evicted=number)]))

    found = [(event.seconds, event.stage, event.detail.split()[0]) for event in told.events if event.what == "evicted"]
    assert found == [(5.0, 1, "1"), (15.0, 1, "2")]


def test_the_oldest_events_are_forgotten() -> None:
    told = RunHistory()

    for number in range(EVENTS_MAX + 10):
        told.add(moment(number + 1.0, incidents=[lost(number)]))

    assert len(told.events) == EVENTS_MAX
    assert told.events_number == EVENTS_MAX + 11


def test_a_resumed_run_takes_back_what_came_after_its_checkpoint() -> None:
    told = history(1.0, 2.0, 3.0)
    told.add(moment(4.0, evaluations=[evaluation(1, 0.5), evaluation(2, 3.5)]))

    told.add(moment(2.5))

    assert told.points()["seconds"] == [1.0, 2.0, 2.5]
    assert [one["epoch"] for one in told.evaluations()] == [1]


def test_a_run_that_is_resumed_over_other_workers_tells_of_those() -> None:
    told = history(1.0, 2.0)

    told.add(moment(3.0, workers=[worker(0)], strips=["F9"]))

    assert told.points()["busy"] == [[0.75]]
    assert told.cells()["strips"] == ["F9"]


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"null", b"\xff", b'{"seconds": 1', json.dumps(values(count=0)).encode()]
    + [
        json.dumps(values() | other).encode()
        for other in (
            {"strips": ["<script>"] * 2},
            {"strips": ["F9"]},
            {"strips": ["F9", "F9F9"]},
            {"strips": ["F9" * 5000] * 2},
            {"samples": "1"},
            {"samples": 10**400},
            {"samples": -1},
            {"loss": float("nan")},
            {"loss": float("inf")},
            {"workers": [worker(0), worker(0)]},
            {"workers": [worker(0), worker(1, state="<b>")]},
            {"evaluations": [evaluation(1, 1.0)] * 10_001},
        )
    ]
    + [json.dumps(values(count=1_001)).encode()],
)
def test_a_line_that_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError, match=r"metrics\.jsonl has a line"):
        parse(line)
