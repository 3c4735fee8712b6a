"""Records: one line of metrics.jsonl, checked, for it may come from a stranger."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from decoupled.errors import UsageError

Text = Annotated[str, Field(max_length=4096)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Worker(_Part):
    """One stage's worker at a moment."""

    stage: int
    layers: list[int]
    samples_per_s: float
    busy: float
    samples: int
    updates: int
    refined: int
    stash: int
    inbox: int
    staleness_mean: float
    staleness_max: float
    head_cosine: float | None
    head_norm_ratio: float | None
    head_relative_error: float | None
    unmatched_gradients: int
    evicted: int
    dropped: int
    bytes_sent: int
    bytes_received: int
    peak_rss_mb: float


class Evaluation(_Part):
    """What the whole test set gave after an epoch."""

    epoch: int
    loss: float | None  # None: infinite
    accuracy: float | None
    seconds: float


class Event(_Part):
    """Something that happened at a moment of a run."""

    seconds: float
    stage: int | None
    what: Text
    detail: Text


class Record(_Part):
    """A moment of a run, and what is new in it."""

    seconds: float
    epoch: int
    samples: int
    samples_total: int
    samples_per_s: float
    loss: float | None
    accuracy: float | None
    overlap: float
    evaluations: list[Evaluation]
    incidents: list[Event]
    workers: Annotated[list[Worker], Field(min_length=1)]
    cells_end: int
    strips: list[Annotated[str, Field(pattern=r"^(?:[A-Zx.?][0-9])*$")]]


def parse(line: bytes) -> Record:
    """The record in a line. Raises UsageError when it is none."""
    try:
        return Record.model_validate_json(line)
    except ValueError:
        raise UsageError(f"metrics.jsonl has a line that this version of decoupled did not write: {line[:60]!r}.") from None
