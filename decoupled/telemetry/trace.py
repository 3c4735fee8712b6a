"""The trace: what all workers of a run did, as a file for ui.perfetto.dev or chrome://tracing.

A run is shown as a process and each of its stages as a thread. Arrows join the computation that made an activation or a
gradient to the one that used it on the neighbouring stage.
"""

from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any, TypeAlias

import numpy as np

from decoupled.telemetry.spans import KINDS, SPAN_KINDS, Rows

Event: TypeAlias = dict[str, Any]
Traced: TypeAlias = tuple[str, Sequence[Rows], Sequence[Sequence[int]]]  # a run's name, its stages' spans, their layers

WAIT_NS = 20_000  # what is shorter is the worker's own housekeeping

COLOURS = {kind.name: kind.trace_colour for kind in SPAN_KINDS} | {"wait": "white"}


def trace_file(runs: Sequence[Traced]) -> Event:
    """Several runs in one trace, ready for json.dump; each begins at time 0, below the one before."""
    events = [event for pid, (name, stages, layers) in enumerate(runs) for event in chrome_trace(name, stages, layers, pid)]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def chrome_trace(name: str, stages: Sequence[Rows], layers: Sequence[Sequence[int]], pid: int = 0) -> list[Event]:
    """The events of one run, in microseconds since its first span: names, then slices, then arrows.

    `stages` holds the spans of each stage, in ns; `layers` the numbers of its layers.
    """
    since_ns = min((int(rows[:, 2].min()) for rows in stages if len(rows)), default=0)
    shifted = [_in_order(rows - np.array([0, 0, since_ns, since_ns])) for rows in stages]
    events = _names(name, layers, pid)
    for tid, rows in enumerate(shifted):
        events += _computations(rows, pid, tid)
        events += _waits(rows, pid, tid)
    return events + _arrows(shifted, pid)


def of_kind(rows: Rows, kind: str) -> Rows:
    """Those of the spans that are of that kind."""
    return rows[np.isin(rows[:, 0], [i for i, name in enumerate(KINDS) if name == kind])]


def slices(rows: Rows, start_ns: int, end_ns: int) -> Rows:
    """The spans that reach into the window, cut off at its edges."""
    inside = rows[(rows[:, 2] < end_ns) & (rows[:, 3] > start_ns)]
    return np.column_stack([inside[:, :2], inside[:, 2:].clip(start_ns, end_ns)])


def absence(stages: Sequence[Rows]) -> tuple[int, int] | None:
    """When a stage first had no worker, from and to, in ns; None if all had one all the time."""
    absent = of_kind(np.concatenate(list(stages)), "absent")
    return None if not len(absent) else (int(absent[:, 2].min()), int(absent[np.argmin(absent[:, 2]), 3]))


def middle(stages: Sequence[Rows], seconds: float) -> list[Rows]:
    """The spans of so long a stretch: around the first absence of a worker, or else from the middle of the run."""
    together = np.concatenate(list(stages))
    if not len(together):
        return list(stages)
    around, half = absence(stages) or (int(together[:, 2].min()), int(together[:, 3].max())), int(seconds * 5e8)
    centre = sum(around) // 2
    return [slices(rows, centre - half, centre + half) for rows in stages]


def _in_order(rows: Rows) -> Rows:
    """By start; of those that start together the longest first, so that it encloses the others."""
    return rows[np.lexsort((-rows[:, 3], rows[:, 2]))]


def _names(name: str, layers: Sequence[Sequence[int]], pid: int) -> list[Event]:
    events = [_label(pid, 0, "process_name", name=name), _label(pid, 0, "process_sort_index", sort_index=pid)]
    for tid, numbers in enumerate(layers):
        plural = "s" if len(numbers) > 1 else ""
        thread = f"stage {tid} (layer{plural} {', '.join(map(str, numbers))})"
        events += [_label(pid, tid, "thread_name", name=thread), _label(pid, tid, "thread_sort_index", sort_index=tid)]
    return events


def _label(pid: int, tid: int, what: str, **args: str | int) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": args}


def _computations(rows: Rows, pid: int, tid: int) -> list[Event]:
    return [
        _slice(pid, tid, KINDS[kind], "compute", start_ns, end_ns) | {"args": {"microbatch": m}}
        for kind, m, start_ns, end_ns in rows.tolist()
    ]


def _waits(rows: Rows, pid: int, tid: int) -> list[Event]:
    """The gaps between spans; spans may lie within others, so a gap begins after all that came before."""
    free_ns, busy_ns = np.maximum.accumulate(rows[:-1, 3]), rows[1:, 2]
    gaps = np.stack([free_ns, busy_ns], axis=1)[busy_ns - free_ns > WAIT_NS]
    return [_slice(pid, tid, "wait", "wait", start_ns, end_ns) for start_ns, end_ns in gaps.tolist()]


def _slice(pid: int, tid: int, name: str, category: str, start_ns: int, end_ns: int) -> Event:
    return {
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "name": name,
        "cat": category,
        "cname": COLOURS[name],
        "ts": start_ns / 1000,
        "dur": (end_ns - start_ns) / 1000,
    }


def _arrows(stages: Sequence[Rows], pid: int) -> list[Event]:
    """Activations go down to the next stage, gradients up to the one before."""
    ids = count(pid << 32)  # an id must not come twice in a file
    events = []
    for tid, (here, below) in enumerate(pairwise(stages)):
        for kind in ("forward", "evaluate"):
            events += _flow("activation", _ends(tid, _each(here, kind), tid + 1, _each(below, kind)), ids, pid)
        made, used = _each(below, "backward", "synthetic"), _each(here, "backward", "refine")
        events += _flow("gradient", _ends(tid + 1, made, tid, used), ids, pid)
    return events


def _each(rows: Rows, *kinds: str) -> Rows:
    """One span for each microbatch, in the order of their numbers: of the first kind that it has, and of those the first."""
    candidates = np.concatenate([of_kind(rows[rows[:, 1] >= 0], kind) for kind in kinds])
    return candidates[np.unique(candidates[:, 1], return_index=True)[1]]


def _ends(from_tid: int, made: Rows, to_tid: int, used: Rows) -> Iterator[tuple[int, int, int, int, int]]:
    """(microbatch, thread, ns, thread, ns) from and to, for what was made on one stage and then used on the other.

    An arrow leaves at the last moment of the span that made it, or when it is used if that is earlier: a span goes on until
    all is sent, so the neighbour may begin before it ends.
    """
    _, i, j = np.intersect1d(made[:, 1], used[:, 1], assume_unique=True, return_indices=True)
    i, j = i[used[j, 2] > made[i, 2]], j[used[j, 2] > made[i, 2]]
    leaves_ns = np.maximum(made[i, 2], np.minimum(made[i, 3] - 1, used[j, 2]))
    for m, start_ns, end_ns in zip(made[i, 1].tolist(), leaves_ns.tolist(), used[j, 2].tolist(), strict=True):
        yield m, from_tid, start_ns, to_tid, end_ns


def _flow(name: str, ends: Iterator[tuple[int, int, int, int, int]], ids: Iterator[int], pid: int) -> list[Event]:
    events: list[Event] = []
    for m, from_tid, start_ns, to_tid, end_ns in ends:
        arrow = {"pid": pid, "name": name, "cat": name, "id": next(ids), "args": {"microbatch": m}}
        events.append({"ph": "s", "tid": from_tid, "ts": start_ns / 1000} | arrow)
        events.append({"ph": "f", "bp": "e", "tid": to_tid, "ts": end_ns / 1000} | arrow)
    return events
