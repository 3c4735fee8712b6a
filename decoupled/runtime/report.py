"""The report: what a run came to. Its names are an interface that other tools read."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from decoupled.config import Run
from decoupled.errors import Diverged
from decoupled.nn.model import TrainedModel
from decoupled.runtime.data_stream import Cursor
from decoupled.runtime.versions import versions
from decoupled.telemetry.evaluations import Evaluation
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.ledger import SampleLedger
from decoupled.telemetry.metrics import RunMetrics
from decoupled.telemetry.ranges import Ranges
from decoupled.telemetry.sinks import finite
from decoupled.telemetry.spans import Rows


@dataclass(frozen=True, slots=True)
class WorkerDetail:
    """One worker over the whole run."""

    stage: int
    layers: list[int]
    host: str  # the name of the machine that it was on, in the end
    busy: float  # share of the training time in which it had a computation under way
    wait: float  # the rest
    samples: int  # trained on
    staleness_mean: float  # updates between a forward pass and the use of its returned gradient
    staleness_max: int
    truth: float  # share of its backward passes from gradients that nobody guessed
    head_cosine: float | None  # between the synthetic and the returned gradient, over the last few; None without a head
    unmatched_gradients: int
    evicted: int  # gradients given up on
    dropped: int  # outputs that found no room downstream
    generation: int  # times the stage was assigned anew
    restarts: int  # workers of the stage that were lost
    missed: int  # microbatches that were fed and not trained on, or forgotten with a worker; account.json lists them
    samples_missed: int
    peak_rss_mb: float
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True, slots=True)
class Report:
    """A finished run. The fields up to `test_metrics` are what report.json holds."""

    schedule: str
    workers: int
    data: str
    samples_per_s: float
    seconds: float  # of training: from the first microbatch's start to the last update's end
    epochs: int
    updates: int  # made by every stage
    test_accuracy: float | None  # None where right and wrong mean nothing
    test_loss: float  # of values: of standardised ones
    overlap: float  # share of `seconds` in which at least two workers had a computation under way
    workers_detail: list[WorkerDetail]
    evaluations: list[Evaluation]
    restarts: int  # workers that were lost
    incidents: list[Incident]
    seed: int
    versions: dict[str, str]
    task: str  # classification, multilabel or regression
    test_r2: float | None  # of values: the mean over outputs
    test_mae: float | None  # of values: mean absolute error in the user's units, the mean over outputs
    test_metrics: dict[str, float]  # the run's own by name, and perplexity of tokens
    run: Run = field(repr=False)  # it may hold whole datasets
    network: TrainedModel = field(repr=False)
    spans: tuple[Rows, ...] = field(repr=False)  # what each worker did when
    account: SampleLedger = field(repr=False)
    folder: Path | None = None

    def within(self, folder: Path) -> "Report":
        """The same report, kept in a folder."""
        return replace(self, folder=folder)

    def to_json(self) -> dict[str, Any]:
        """The object that report.json holds."""
        plain = {name: getattr(self, name) for name in JSON_FIELDS}
        nested = {name: [asdict(one) for one in getattr(self, name)] for name in ("workers_detail", "evaluations", "incidents")}
        whole: dict[str, Any] = finite(plain | nested)
        return whole


ADDED: dict[str, Any] = {
    "task": None,
    "test_r2": None,
    "test_mae": None,
    "test_metrics": {},
}  # fields that reports of earlier versions lack
JSON_FIELDS = tuple(f.name for f in fields(Report) if f.name not in ("run", "network", "spans", "account", "folder"))


def conclude(run: Run, metrics: RunMetrics, network: TrainedModel, fed: Cursor, trained: list[Ranges]) -> Report:
    """The report of a run whose stages have all finished; `trained` is what each of them says it has trained on.

    Raises Diverged when what was trained are no numbers.
    """
    if not all(np.isfinite(array).all() for array in network.arrays.values()):
        raise Diverged("The run diverged: its trained weights are no numbers. Try a lower lr.")
    metrics.finish()
    account = SampleLedger(fed.trained, tuple(trained))
    missed = [account.missed(stage) for stage in range(len(trained))]
    final = metrics.evaluations.done[-1]
    samples = min(counters.samples for counters in metrics.counters)  # trained on by every stage
    return Report(
        schedule=run.schedule,
        workers=len(metrics.stages),
        data=run.data_name,
        samples_per_s=round(samples / metrics.seconds, 1) if metrics.seconds else 0.0,
        seconds=round(metrics.seconds, 3),
        epochs=run.epochs,
        updates=min(counters.updates for counters in metrics.counters),
        test_accuracy=None if final.accuracy is None else round(final.accuracy, 6),
        test_loss=round(final.loss, 6),
        overlap=round(metrics.overlap, 4),
        workers_detail=[_detail(metrics, stage, len(missed[stage]), fed.samples(missed[stage])) for stage in range(len(missed))],
        evaluations=list(metrics.evaluations.done),
        restarts=sum(metrics.restarts(stage) for stage in range(len(metrics.stages))),
        incidents=list(metrics.incidents),
        seed=run.seed,
        versions=versions(),
        task=network.targets.task,
        test_r2=None if final.r2 is None else round(final.r2, 6),
        test_mae=final.mae,
        test_metrics={name: round(value, 6) for name, value in final.metrics.items()},
        run=run,
        network=network,
        spans=metrics.spans,
        account=account,
    )


def _detail(metrics: RunMetrics, stage: int, missed: int, samples_missed: int) -> WorkerDetail:
    counters, busy = metrics.counters[stage], metrics.busy(stage)
    cosine = counters.head_cosine.value
    return WorkerDetail(
        stage=stage,
        layers=list(metrics.stages[stage]),
        host=metrics.hosts[stage],
        busy=round(busy, 4),
        wait=round(1 - busy, 4),
        samples=counters.samples,
        staleness_mean=round(counters.staleness.mean, 3),
        staleness_max=int(counters.staleness.maximum),
        truth=round(counters.true_gradients / (counters.truth.count or 1), 4),
        head_cosine=None if cosine is None else round(cosine, 4),
        unmatched_gradients=counters.unmatched_gradients,
        evicted=counters.evicted,
        dropped=counters.dropped,
        generation=metrics.generations[stage],
        restarts=metrics.restarts(stage),
        missed=missed,
        samples_missed=samples_missed,
        peak_rss_mb=round(counters.peak_rss_mb, 1),
        bytes_sent=counters.bytes_sent,
        bytes_received=counters.bytes_received,
    )
