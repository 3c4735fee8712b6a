"""What a run's folder says of it, checked and bounded, for it may come from a stranger: records, and the report."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from decoupled.errors import UsageError

WORKERS_MAX = 1_000
NEWS_MAX = 10_000  # of a kind, in one record: a resumed run's first tells all that happened before
METRICS_MAX = 100
CELLS_MAX = 4_000  # in one record

Whole = Annotated[int, Field(ge=0, lt=1 << 63)]
Text = Annotated[str, Field(max_length=4096)]
Strip = Annotated[str, Field(max_length=2 * CELLS_MAX, pattern=r"^(?:[A-Zx.?][0-9])*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Worker(_Part):
    """One stage's worker at a moment."""

    stage: Whole
    layers: Annotated[list[Whole], Field(max_length=WORKERS_MAX)]
    state: Literal["computing", "refining", "waiting", "restarting", "silent"]
    samples_per_s: float
    busy: float
    samples: Whole
    updates: Whole
    refined: Whole
    stash: Whole
    inbox: Whole
    staleness_mean: float
    staleness_max: float
    truth: float | None = None
    head_cosine: float | None
    head_norm_ratio: float | None
    head_relative_error: float | None
    unmatched_gradients: Whole
    evicted: Whole
    dropped: Whole
    bytes_sent: Whole
    bytes_received: Whole
    peak_rss_mb: float


class Evaluation(_Part):
    """What the whole test set gave after an epoch."""

    epoch: Whole
    loss: float | None  # None: infinite
    accuracy: float | None
    seconds: float
    r2: float | None = None
    mae: float | None = None
    metrics: Annotated[dict[Text, float | None], Field(max_length=METRICS_MAX)] = {}


class Event(_Part):
    """Something that happened at a moment of a run."""

    seconds: float
    stage: Whole | None
    what: Text
    detail: Text


class Moment(_Part):
    """A moment of a run."""

    seconds: float
    epoch: Whole
    samples: Whole
    samples_fed: Whole
    samples_total: Whole
    samples_per_s: float
    loss: float | None
    accuracy: float | None
    overlap: float
    checkpoint: Whole | None
    workers: Annotated[list[Worker], Field(min_length=1, max_length=WORKERS_MAX)]

    @model_validator(mode="after")
    def _is_of_all_stages(self) -> "Moment":
        if [worker.stage for worker in self.workers] != list(range(len(self.workers))):
            raise ValueError("not one worker for each stage")
        return self


class Record(Moment):
    """One line of metrics.jsonl: a moment, and what is new in it."""

    evaluations: Annotated[list[Evaluation], Field(max_length=NEWS_MAX)]
    incidents: Annotated[list[Event], Field(max_length=NEWS_MAX)]
    cells_end: Whole
    strips: Annotated[list[Strip], Field(max_length=WORKERS_MAX)]

    @model_validator(mode="after")
    def _has_as_many_cells_of_each(self) -> "Record":
        if len(self.strips) != len(self.workers) or len({len(strip) for strip in self.strips}) > 1:
            raise ValueError("not as many cells of each worker")
        return self


class Facts(_Part):
    """What a run is; only its folder, before it begins."""

    folder: Text
    schedule: Text = ""
    data: Text = ""
    window: Whole | None = None


class Bins(_Part):
    """What each worker did of late."""

    ms: Annotated[int, Field(gt=0, le=1000)]
    strips: Annotated[list[Strip], Field(max_length=WORKERS_MAX)]


class Now(_Part):
    """What a page tells of its run at /api/now (see Follower.now)."""

    run: Facts
    state: Text
    now: Moment | Annotated[dict[str, Any], Field(max_length=0)]  # empty before the first
    evaluations: Annotated[list[Evaluation], Field(max_length=NEWS_MAX)]
    report: "Outcome | None"
    events: Annotated[list[Event], Field(max_length=NEWS_MAX)]
    cells: Bins


class Outcome(_Part):
    """What is worth a look in a report.json."""

    test_accuracy: float | None
    test_loss: float | None
    samples_per_s: float
    seconds: float
    overlap: float


def parse(line: bytes) -> Record:
    """The record in a line of metrics.jsonl. Raises UsageError when it is none."""
    try:
        return Record.model_validate_json(line)
    except ValueError:
        raise UsageError(f"metrics.jsonl has a line that this version of decoupled did not write: {line[:60]!r}.") from None


def outcome(report: dict[str, Any]) -> Outcome:
    """What a report says. Raises UsageError when it does not."""
    try:
        return Outcome.model_validate(report)
    except ValueError:
        raise UsageError("report.json is not one that this version of decoupled wrote.") from None
