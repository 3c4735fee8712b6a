"""The activity timeline: what each worker has done of late, in cells of 5 ms, small enough to be watched during a run.

A cell is two characters: what took most of its time, and how many tenths of it the worker computed.
"""

from dataclasses import dataclass

import numpy as np

from decoupled.telemetry.spans import SPAN_KINDS, Rows

CELL_NS = 5_000_000
KEPT = 2_000  # cells
LAG = 400  # cells that the others wait for a worker that does not report
SKEW_NS = 100_000_000  # more than a report travels: by so much the clocks of two hosts differ

WAITING, ABSENT, UNKNOWN = ".", "x0", "?0"
_BYTES = np.array([ord(kind.letter) for kind in SPAN_KINDS], np.uint8)


@dataclass(frozen=True, slots=True)
class Bins:
    """The cells of all workers up to one of them, the same number of each."""

    end: int = 0  # the number of the cell after the last, counted from 1970
    texts: tuple[str, ...] = ()

    def since(self, first: int) -> tuple[str, ...]:
        """Those that are not older."""
        return tuple(text[-2 * max(self.end - first, 0) :] if self.end > first else "" for text in self.texts)


class ActivityTimeline:
    """Cuts all workers' time into cells on one grid."""

    def __init__(self, stages: int) -> None:
        self._texts = [""] * stages
        self._ends = [0] * stages  # the cell after the last that is known
        self._rests: list[Rows] = [np.empty((0, 4), np.int64)] * stages  # spans in the cell that is not over yet
        self._is_absent = [False] * stages
        self._skews: list[int | None] = [None] * stages  # ns, from a report's time to its arrival, at least
        self._shown_to = 0

    def add(self, stage: int, rows: Rows, at_ns: int, arrived_ns: int) -> None:
        """A worker's spans since it reported last, and up to `at_ns` by its clock; `arrived_ns` is by that of all cells."""
        shift = self._shift(stage, arrived_ns - at_ns)
        rows = np.concatenate([self._rests[stage], rows + np.array([0, 0, shift, shift])])
        end = (at_ns + shift) // CELL_NS
        first = self._ends[stage] or (int(rows[0, 2]) // CELL_NS if len(rows) else end)
        first = max(first, end - KEPT)
        self._extend(stage, cells(rows, first, max(end - first, 0)), end)
        self._rests[stage] = rows[rows[:, 3] > end * CELL_NS]

    def _shift(self, stage: int, skew_ns: int) -> int:
        """What makes a worker's times those of all cells: nothing, where its clock is about the same."""
        known = self._skews[stage]
        least = self._skews[stage] = skew_ns if known is None else min(known, skew_ns)
        return least if abs(least) > SKEW_NS else 0

    def leave(self, stage: int, at_ns: int) -> None:
        """The stage has no worker from then on."""
        self._know(stage, at_ns // CELL_NS, UNKNOWN)
        self._is_absent[stage], self._rests[stage], self._skews[stage] = True, self._rests[stage][:0], None

    def come_back(self, stage: int, at_ns: int) -> None:
        """The stage has a worker again."""
        self._know(stage, at_ns // CELL_NS, ABSENT)
        self._is_absent[stage] = False

    def _know(self, stage: int, end: int, cell: str) -> None:
        if self._ends[stage]:
            self._extend(stage, cell * min(end - self._ends[stage], KEPT), end)

    def _extend(self, stage: int, text: str, end: int) -> None:
        if end > self._ends[stage]:
            self._texts[stage], self._ends[stage] = (self._texts[stage] + text)[-2 * KEPT :], end

    def view(self) -> Bins:
        """The last KEPT cells, up to the last that every worker has reported on, unless it is late."""
        newest = max(self._ends)
        known = [end for end, is_absent in zip(self._ends, self._is_absent, strict=True) if not is_absent]
        end = self._shown_to = max(min(known, default=newest), newest - LAG, self._shown_to)
        begun = min((end - len(text) // 2 for end, text in zip(self._ends, self._texts, strict=True) if text), default=end)
        return Bins(end, tuple(self._text(stage, max(begun, end - KEPT), end) for stage in range(len(self._texts))))

    def _text(self, stage: int, first: int, end: int) -> str:
        last = self._ends[stage]
        begin = last - len(self._texts[stage]) // 2
        known = self._texts[stage][2 * max(first - begin, 0) : 2 * max(end - begin, 0)]
        before = UNKNOWN * max(min(begin, end) - first, 0)
        return before + known + (ABSENT if self._is_absent[stage] else UNKNOWN) * max(end - max(last, first), 0)


def cells(rows: Rows, first: int, count: int) -> str:
    """So many cells of one worker's spans, which follow one another in time."""
    edges = np.arange(count + 1, dtype=np.float64) * CELL_NS
    busy = np.zeros((len(SPAN_KINDS), count))
    for kind in np.unique(rows[:, 0]):
        spans = rows[rows[:, 0] == kind]
        passed = np.cumsum(spans[:, 3] - spans[:, 2])
        at = (spans[:, 2:] - first * CELL_NS).ravel()
        time = np.stack([passed - (spans[:, 3] - spans[:, 2]), passed], axis=1).ravel()
        busy[kind] = np.diff(np.interp(edges, at, time))
    share = busy.sum(axis=0) / CELL_NS
    text = np.empty((count, 2), np.uint8)
    text[:, 0] = np.where(share > 0, _BYTES[busy.argmax(axis=0)], ord(WAITING))
    text[:, 1] = ord("0") + np.minimum(np.rint(share * 10), 9).astype(np.uint8)
    return text.tobytes().decode("ascii")
