"""The trace: exact slices, waits and arrows for spans written by hand."""

import json
from collections import Counter
from typing import Any

import numpy as np

from decoupled.telemetry.spans import KINDS, Rows
from decoupled.telemetry.trace import COLOURS, Event, chrome_trace, of_kind, slices, trace_file

US = 1000  # ns


def spans(*edges: tuple[str, int, int, int]) -> Rows:
    """(kind, microbatch, start, end) each, in microseconds from an arbitrary zero."""
    zero = 1_700_000_000_000_000_000
    rows = [(KINDS.index(kind), m, zero + start * US, zero + end * US) for kind, m, start, end in edges]
    return np.array(rows, np.int64).reshape(-1, 4)


def events(*stages: Rows, pid: int = 0) -> list[Event]:
    return chrome_trace("run", stages, [[i] for i in range(len(stages))], pid)


def drawn(made: list[Event]) -> list[tuple[Any, ...]]:
    return [(e["tid"], e["name"], e["ts"], e["ts"] + e["dur"]) for e in made if e["ph"] == "X"]


def arrows(made: list[Event]) -> list[tuple[Any, ...]]:
    """(name, from thread, at, to thread, at); asserts that each arrow has both ends, its beginning first."""
    ends = [e for e in made if e["ph"] in "sf"]
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    for start, end in pairs:
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert {key: start[key] for key in ("id", "name", "cat", "pid")} == {
            key: end[key] for key in ("id", "name", "cat", "pid")
        }
        assert start["ts"] <= end["ts"]
    assert len({start["id"] for start, _ in pairs}) == len(pairs)
    return [(s["name"], s["tid"], s["ts"], f["tid"], f["ts"]) for s, f in pairs]


def test_a_run_is_a_process_and_a_stage_a_thread_with_names_in_order() -> None:
    made = chrome_trace("dni", [spans(), spans()], [[0], [1, 2]], pid=3)

    assert made == [
        {"ph": "M", "pid": 3, "tid": 0, "name": "process_name", "args": {"name": "dni"}},
        {"ph": "M", "pid": 3, "tid": 0, "name": "process_sort_index", "args": {"sort_index": 3}},
        {"ph": "M", "pid": 3, "tid": 0, "name": "thread_name", "args": {"name": "stage 0 (layer 0)"}},
        {"ph": "M", "pid": 3, "tid": 0, "name": "thread_sort_index", "args": {"sort_index": 0}},
        {"ph": "M", "pid": 3, "tid": 1, "name": "thread_name", "args": {"name": "stage 1 (layers 1, 2)"}},
        {"ph": "M", "pid": 3, "tid": 1, "name": "thread_sort_index", "args": {"sort_index": 1}},
    ]


def test_a_span_becomes_a_complete_event_in_microseconds_since_the_first() -> None:
    made = events(spans(("forward", 7, 100, 110)), spans(("update", -1, 102, 105)), pid=1)

    assert [e for e in made if e["ph"] == "X"] == [
        {
            "ph": "X",
            "pid": 1,
            "tid": 0,
            "name": "forward",
            "cat": "compute",
            "cname": "rail_response",
            "ts": 0.0,
            "dur": 10.0,
            "args": {"microbatch": 7},
        },
        {
            "ph": "X",
            "pid": 1,
            "tid": 1,
            "name": "update",
            "cat": "compute",
            "cname": "background_memory_dump",
            "ts": 2.0,
            "dur": 3.0,
            "args": {"microbatch": -1},
        },
    ]


def test_nanoseconds_survive() -> None:
    rows = np.array([[0, 0, 1_700_000_000_000_000_001, 1_700_000_000_000_000_003]], np.int64)

    assert drawn(events(np.concatenate([rows - [[0, 0, 1, 1]], rows])))[1] == (0, "forward", 0.001, 0.003)


def test_only_gaps_longer_than_20_us_are_waits() -> None:
    made = events(spans(("forward", 0, 0, 10), ("forward", 1, 30, 40), ("forward", 2, 61, 70)))

    assert [slice for slice in drawn(made) if slice[1] == "wait"] == [(0, "wait", 40.0, 61.0)]


def test_a_span_within_another_opens_no_gap() -> None:
    """The sending may lie at the end of the computation, and rows may come in any order."""
    made = events(spans(("forward", 1, 140, 150), ("send", 0, 10, 20), ("forward", 0, 0, 100)))

    assert drawn(made) == [
        (0, "forward", 0.0, 100.0),
        (0, "send", 10.0, 20.0),
        (0, "forward", 140.0, 150.0),
        (0, "wait", 100.0, 140.0),
    ]


def test_spans_that_start_together_are_nested_by_length() -> None:
    made = events(spans(("send", 0, 0, 5), ("forward", 0, 0, 10)))

    assert [name for _, name, _, _ in drawn(made)] == ["forward", "send"]


def test_lockstep_has_an_arrow_down_for_the_activation_and_one_up_for_the_gradient() -> None:
    made = events(
        spans(("forward", 0, 0, 10), ("backward", 0, 60, 70), ("update", -1, 70, 71)),
        spans(("forward", 0, 15, 25), ("backward", 0, 25, 50), ("update", -1, 50, 51)),
    )

    assert arrows(made) == [("activation", 0, 9.999, 1, 15.0), ("gradient", 1, 49.999, 0, 60.0)]


def test_an_arrow_leaves_no_later_than_it_arrives() -> None:
    """A span lasts until all is sent, so the next stage may begin within it."""
    made = events(spans(("forward", 0, 0, 10)), spans(("forward", 0, 8, 20)))

    assert arrows(made) == [("activation", 0, 8.0, 1, 8.0)]


def test_evaluations_are_joined_with_evaluations_only() -> None:
    made = events(
        spans(("evaluate", 0, 0, 10), ("forward", 1, 10, 20)),
        spans(("evaluate", 0, 12, 20), ("evaluate", 1, 30, 40)),
    )

    assert arrows(made) == [("activation", 0, 9.999, 1, 12.0)]


def test_a_gradient_goes_to_the_backward_pass_rather_than_to_the_refinement_after_it() -> None:
    """dni, chained: stage 1 passes down a true gradient for 0; stage 0 updates and refines with it."""
    made = events(
        spans(("forward", 0, 0, 10), ("synthetic", 1, 20, 30), ("backward", 0, 60, 70), ("refine", 0, 70, 75)),
        spans(("backward", 0, 30, 50), ("synthetic", 1, 50, 55)),
    )

    assert arrows(made) == [("gradient", 1, 49.999, 0, 60.0)]


def test_a_bootstrapped_gradient_goes_to_the_refinement() -> None:
    """dni, bootstrapped: stage 0 has long updated from its own guess; the returned gradient refines the head."""
    made = events(
        spans(("forward", 0, 0, 10), ("synthetic", 0, 10, 20), ("refine", 0, 80, 90)),
        spans(("synthetic", 0, 30, 50)),
    )

    assert arrows(made) == [("gradient", 1, 49.999, 0, 80.0)]


def test_no_arrow_points_back_in_time() -> None:
    made = events(
        spans(("forward", 0, 50, 60), ("refine", 0, 30, 40)),
        spans(("forward", 0, 20, 30), ("synthetic", 0, 30, 50)),
    )

    assert arrows(made) == []


def test_missing_ends_and_repeats_leave_no_arrow_with_one_end() -> None:
    made = events(
        spans(("forward", 0, 0, 10), ("forward", 0, 10, 20), ("forward", 1, 20, 30), ("update", -1, 30, 40)),
        spans(("forward", 0, 50, 60), ("forward", 0, 60, 70), ("forward", 2, 70, 80), ("update", -1, 80, 90)),
        spans(("backward", 5, 0, 10)),
    )

    assert arrows(made) == [("activation", 0, 9.999, 1, 50.0)]


def test_arrows_pass_every_stage() -> None:
    made = events(*(spans(("forward", 0, 10 * i, 10 * i + 10), ("backward", 0, 100 - 10 * i, 110 - 10 * i)) for i in range(4)))

    assert Counter((name, source, sink) for name, source, _, sink, _ in arrows(made)) == {
        ("activation", 0, 1): 1,
        ("activation", 1, 2): 1,
        ("activation", 2, 3): 1,
        ("gradient", 1, 0): 1,
        ("gradient", 2, 1): 1,
        ("gradient", 3, 2): 1,
    }


def random_stage(rng: np.random.Generator) -> Rows:
    """Spans one after the other, of any kind and of microbatches that repeat and are missing."""
    length = 600
    edges = np.cumsum(rng.integers(1, 50_000, 2 * length)).reshape(-1, 2)
    labels = np.stack([rng.integers(0, KINDS.index("snapshot"), length), rng.integers(-1, 80, length)], axis=1)
    return np.concatenate([labels, edges], axis=1)


def test_both_ends_of_every_arrow_lie_in_a_slice_of_its_microbatch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = events(*(random_stage(rng) for _ in range(4)))
    ends = [e for e in made if e["ph"] in "sf"]
    boxes = [e for e in made if e.get("cat") == "compute"]

    assert len(arrows(made)) > 50
    for end in ends:
        at, m = round(end["ts"] * US), end["args"]["microbatch"]
        around = [
            box
            for box in boxes
            if box["tid"] == end["tid"] and round(box["ts"] * US) <= at < round((box["ts"] + box["dur"]) * US)
        ]
        assert [box["args"]["microbatch"] for box in around] == [m]
        assert end["ph"] == "s" or round(around[0]["ts"] * US) == at


def test_a_file_holds_several_runs_and_is_json() -> None:
    stages = [spans(("forward", 0, 0, 10)), spans(("forward", 0, 15, 25))]
    file = trace_file([("lockstep", stages, [[0], [1]]), ("dni", stages, [[0], [1]])])
    made = file["traceEvents"]

    assert json.loads(json.dumps(file)) == file
    assert set(file) == {"traceEvents", "displayTimeUnit"}
    assert [(e["pid"], e["args"]["name"]) for e in made if e["name"] == "process_name"] == [(0, "lockstep"), (1, "dni")]
    assert len(arrows(made)) == 2
    assert len(drawn(made)) == 4


def test_every_kind_has_a_colour() -> None:
    assert set(KINDS) <= set(COLOURS)


def test_spans_of_a_kind_keep_their_order() -> None:
    rows = spans(("forward", 3, 0, 1), ("update", -1, 1, 2), ("forward", 1, 2, 3))

    assert of_kind(rows, "forward")[:, 1].tolist() == [3, 1]
    assert of_kind(rows, "no such kind").shape == (0, 4)


def test_slices_are_cut_at_the_window() -> None:
    rows = np.array([[0, 1, 0, 10], [1, 1, 10, 20], [2, -1, 20, 30], [0, 2, 40, 90]], np.int64)

    assert slices(rows, 10, 50).tolist() == [[1, 1, 10, 20], [2, -1, 20, 30], [0, 2, 40, 50]]
    assert slices(rows, 30, 40).tolist() == []
    assert slices(rows, 12, 15).tolist() == [[1, 1, 12, 15]]
