"""Spans: when a worker computed what, kept as rows of whole numbers that travel as one array."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from decoupled.schedules.actions import Action, Backward, Source

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SpanKind:
    """What a worker can be doing, and how it is shown, wherever it is."""

    name: str
    letter: str  # in the activity timeline
    colour: str  # in pictures, from the palette of Okabe and Ito, which colour-blind readers can tell
    trace_colour: str  # in chrome://tracing, which knows only its own names; Perfetto goes by the slice's name
    label: str = ""  # in a legend; "" for the name


# Files name a kind by its number here, so new ones come last.
SPAN_KINDS = (
    SpanKind("forward", "F", "#0072B2", "rail_response"),
    SpanKind("backward", "B", "#009E73", "rail_load", "backward, true gradient"),
    SpanKind("update", "U", "#56B4E9", "background_memory_dump"),
    SpanKind("refine", "R", "#E69F00", "yellow", "refine head"),
    SpanKind("evaluate", "E", "#B5A642", "grey"),
    SpanKind("evict", "P", "#D55E00", "bad", "give up"),
    SpanKind("synthetic", "S", "#CC79A7", "detailed_memory_dump", "backward, synthetic gradient"),
    SpanKind("send", "P", "#8A8A8A", "olive"),
    SpanKind("drop", "P", "#D55E00", "terrible"),
    SpanKind("snapshot", "C", "#8A8A8A", "thread_state_iowait"),
    SpanKind("endfeed", "P", "#8A8A8A", "grey", "end of feed"),
    SpanKind("absent", "x", "#000000", "black", "no worker"),  # no action: the stage had no worker
    SpanKind("skip", "P", "#D55E00", "terrible", "skip evaluation"),
    SpanKind("fence", "P", "#8A8A8A", "olive"),
    SpanKind("answer", "P", "#8A8A8A", "olive", "answer fence"),
)
KINDS = tuple(kind.name for kind in SPAN_KINDS)
TRAINING = tuple(KINDS.index(kind) for kind in ("forward", "backward", "synthetic", "update", "refine", "send"))
ROWS_MAX = 1024  # that are kept before they are taken; 32 KiB
COLUMNS = ("kind", "microbatch", "start_ns", "end_ns")


def kind_of(action: Action) -> str:
    """What an action is called in spans."""
    is_guess = isinstance(action, Backward) and action.source in (Source.SYNTHETIC, Source.TENTATIVE)
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
