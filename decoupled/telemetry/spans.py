"""Spans: when a worker computed what, kept as rows of whole numbers that travel as one array."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]

KINDS = ("forward", "backward", "update", "refine", "evaluate", "evict")
TRAINING = tuple(KINDS.index(kind) for kind in ("forward", "backward", "update", "refine"))
COLUMNS = ("kind", "microbatch", "start_ns", "end_ns")


class Spans:
    """A worker's spans since they were last taken."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def add(self, kind: str, microbatch: int, start_ns: int, end_ns: int) -> None:
        """Notes one action; a microbatch of -1 is none in particular."""
        self._rows.append((KINDS.index(kind), microbatch, start_ns, end_ns))

    def take(self) -> Rows:
        """The spans so far, n x 4 (see COLUMNS), and starts anew."""
        rows: NDArray[Any] = np.array(self._rows, np.int64).reshape(-1, len(COLUMNS))
        self._rows.clear()
        return rows


def training(rows: Rows) -> Rows:
    """Those of the spans in which a stage trained."""
    return rows[np.isin(rows[:, 0], TRAINING)]
