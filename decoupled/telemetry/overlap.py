"""Overlap: the share of wall time in which at least two workers have a computation under way. 0 when they take turns.

A worker whose core the system has lent to another is still counted: overlap says that nobody waited for anybody, not how
many cores there were. Computed from spans as they come in, in one sweep over their edges, so memory stays small however
long the run is.
"""

import numpy as np

from decoupled.telemetry.spans import Rows, training

NEVER = 2**63 - 1


class Overlap:
    """Sweeps the training spans of `workers` workers."""

    def __init__(self, workers: int) -> None:
        self._known_to = [0] * workers  # ns: all spans of that worker that started earlier have been added
        self._edges = np.empty((0, 2), np.int64)  # ns, +1 or -1; not yet swept
        self._depth = 0  # workers that compute at the front of the sweep
        self._swept_to: int | None = None
        self._first: int | None = None
        self._last = 0
        self._shared_ns = 0

    def add(self, worker: int, rows: Rows, known_to_ns: int) -> None:
        """Takes in a worker's spans up to `known_to_ns`; later calls for it bring only later spans."""
        spans = training(rows)
        if len(spans):
            starts, ends = spans[:, 2], spans[:, 3]
            self._first = min(int(starts.min()), self._first if self._first is not None else int(starts.min()))
            self._last = max(self._last, int(ends.max()))
            edges = np.stack([np.concatenate([starts, ends]), np.repeat([1, -1], len(spans))], axis=1)
            self._edges = np.concatenate([self._edges, edges])
        self._known_to[worker] = known_to_ns
        self._sweep(min(self._known_to))

    def leave_out(self, worker: int) -> None:
        """That worker is gone: nothing is waited for from it until it brings spans again."""
        self._known_to[worker] = NEVER
        self._sweep(min(self._known_to))

    def take_back(self, worker: int, since_ns: int) -> None:
        """It has a successor, whose spans begin after that."""
        self._known_to[worker] = since_ns

    def _sweep(self, limit_ns: int) -> None:
        ready = self._edges[:, 0] <= limit_ns
        if not ready.any():
            return
        edges = self._edges[ready]
        self._edges = self._edges[~ready]
        edges = edges[np.argsort(edges[:, 0], kind="stable")]
        depths = self._depth + np.cumsum(edges[:, 1])  # after each edge
        before = np.concatenate([[self._depth], depths[:-1]])
        since = np.concatenate([[self._swept_to if self._swept_to is not None else edges[0, 0]], edges[:-1, 0]])
        self._shared_ns += int(np.sum((edges[:, 0] - since)[before >= 2]))
        self._depth, self._swept_to = int(depths[-1]), int(edges[-1, 0])

    def finish(self) -> None:
        """Takes the spans as complete: no worker will report any more."""
        self._sweep(self._last)

    @property
    def window_ns(self) -> tuple[int, int]:
        """From the start of the first training span to the end of the last."""
        return (self._first or 0, self._last) if self._first is not None else (0, 0)

    @property
    def share(self) -> float:
        """The overlap so far, between 0 and 1."""
        first, last = self.window_ns
        return self._shared_ns / (last - first) if last > first else 0.0
