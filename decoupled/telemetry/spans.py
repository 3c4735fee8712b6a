"""Spans: when a worker computed what, kept as rows of whole numbers that travel as one array."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from decoupled.schedules.actions import Action, Backward, Source

Rows: TypeAlias = NDArray[np.int64]

# "backward" starts from a true gradient, "synthetic" from the head's
KINDS = (
    "forward",
    "backward",
    "update",
    "refine",
    "evaluate",
    "evict",
    "synthetic",
    "send",
    "drop",
    "snapshot",
    "endfeed",
    "absent",  # no action: the stage had no worker
)
TRAINING = tuple(KINDS.index(kind) for kind in ("forward", "backward", "synthetic", "update", "refine", "send"))
ROWS_MAX = 1024  # that are kept before they are taken; 32 KiB
COLUMNS = ("kind", "microbatch", "start_ns", "end_ns")


def kind_of(action: Action) -> str:
    """What an action is called in spans."""
    is_guess = isinstance(action, Backward) and action.source is Source.SYNTHETIC
    return "synthetic" if is_guess else type(action).__name__.lower()


class Spans:
    """A worker's spans since they were last taken."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def add(self, action: Action, start_ns: int, end_ns: int) -> None:
        """Notes one action; the microbatch of an update is -1."""
        self._rows.append((KINDS.index(kind_of(action)), getattr(action, "microbatch", -1), start_ns, end_ns))

    @property
    def are_many(self) -> bool:
        """There are enough for a message."""
        return len(self._rows) >= ROWS_MAX

    def take(self) -> Rows:
        """The spans so far, n x 4 (see COLUMNS), and starts anew."""
        rows: NDArray[Any] = np.array(self._rows, np.int64).reshape(-1, len(COLUMNS))
        self._rows.clear()
        return rows


def whole_rows(array: NDArray[Any], at_ns: int) -> Rows:
    """An array that came at `at_ns` as spans. Raises ValueError when it is none, or not of one action after another."""
    if array.dtype != np.int64 or array.ndim != 2 or array.shape[1] != len(COLUMNS):
        raise ValueError(f"{array.dtype} {array.shape} are no spans")
    if len(array) and not 0 <= array[:, 0].min() <= array[:, 0].max() < len(KINDS):
        raise ValueError("spans of an unknown kind")
    if not 0 <= at_ns < 1 << 62:
        raise ValueError(f"spans up to {at_ns} ns")
    edges = np.append(array[:, 2:].ravel(), at_ns)
    if (edges[1:] < edges[:-1]).any():
        raise ValueError("spans that do not follow one another")
    return array


def training(rows: Rows) -> Rows:
    """Those of the spans in which a stage trained."""
    return rows[np.isin(rows[:, 0], TRAINING)]
