"""The metrics: all workers' reports of a run put together, for whoever watches and for the final report."""

import platform
from dataclasses import dataclass, field, replace

import numpy as np

from decoupled.errors import DecoupledError
from decoupled.telemetry.activity import WAITING, ActivityTimeline, Bins
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.evaluations import Evaluation, Evaluations
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.overlap import Overlap
from decoupled.telemetry.spans import COLUMNS, KINDS, Rows, training

RATE_OVER_NS = 1_000_000_000  # rates are averages over the last second or so
SPANS_MAX = 500_000  # kept of each worker, from the first on: 16 MB


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as it is now."""

    stage: int
    layers: tuple[int, ...]
    counters: Counters
    samples_per_s: float
    busy: float  # share of the time it computes
    state: str = "computing"  # or refining, waiting, restarting, silent

    @property
    def wait(self) -> float:
        return 1 - self.busy


@dataclass(frozen=True, slots=True)
class Progress:
    """A run as it is now."""

    seconds: float
    epoch: int  # the one being trained, from 1
    epochs: int
    samples: int  # trained on by the last stage
    samples_fed: int  # of the total; what is trained on may be less, when something was missed
    samples_total: int
    samples_per_s: float
    loss: float | None
    accuracy: float | None  # on the last training batches
    overlap: float
    workers: tuple[WorkerView, ...]
    evaluations: tuple[Evaluation, ...]
    incidents: tuple[Incident, ...] = ()
    checkpoint: int | None = None  # the microbatch after which the last one was made
    cells: Bins = field(default_factory=Bins)  # of the workers' time of late

    def ended_by(self, error: BaseException) -> "Progress":
        """The same, for a run that ended early then."""
        is_ctrl_c = isinstance(error, KeyboardInterrupt)
        reason = "by Ctrl-C" if is_ctrl_c else str(error) if isinstance(error, DecoupledError) else type(error).__name__
        return replace(self, incidents=(*self.incidents, Incident(self.seconds, None, "interrupted", reason)))


class RunMetrics:
    """Takes reports in, and gives views."""

    def __init__(self, stages: tuple[tuple[int, ...], ...], epochs: int, train_samples: int, test_samples: int) -> None:
        self.stages = stages
        self.samples_total = epochs * train_samples
        self.evaluations = Evaluations(test_samples)
        self._epochs = epochs
        self._overlap = Overlap(len(stages))
        self._activity = ActivityTimeline(len(stages))
        self._busy_ns = [0] * len(stages)
        self._spans: list[list[Rows]] = [[] for _ in stages]
        self._kept = [0] * len(stages)
        self._past: list[list[tuple[int, int, int]]] = [[] for _ in stages]  # (at, samples, busy_ns) of late
        self._absent_since: list[int | None] = [None] * len(stages)  # ns, when its worker was lost
        self.counters = [Counters(stage) for stage in range(len(stages))]
        self.seconds_before = 0.0  # of training, before the run was resumed
        self.hosts = [platform.node()] * len(stages)  # where each stage's worker is
        self.generations = [0] * len(stages)  # times each stage was assigned before
        self.incidents: tuple[Incident, ...] = ()
        self._silent = set[int]()  # stages whose worker does not report

    def report(self, counters: Counters, rows: Rows, at_ns: int, arrived_ns: int | None = None) -> None:
        """A worker's totals at `at_ns`, and its spans since its last report; `arrived_ns` is by this process's clock."""
        stage = counters.stage
        self.counters[stage] = counters
        if self._kept[stage] < SPANS_MAX:
            self._spans[stage].append(rows)
            self._kept[stage] += len(rows)
        spans = training(rows)
        self._busy_ns[stage] += int((spans[:, 3] - spans[:, 2]).sum())
        self._overlap.add(stage, rows, at_ns)
        self._activity.add(stage, rows, at_ns, at_ns if arrived_ns is None else arrived_ns)
        past = self._past[stage]
        if past and counters.samples < past[-1][1]:  # it went back to a checkpoint
            past.clear()
        if not past and len(spans) and self.generations[stage] == 0:
            past.append((int(spans[0, 2]), 0, 0))
        past.append((at_ns, counters.samples, self._busy_ns[stage]))
        while len(past) > 2 and past[1][0] < at_ns - RATE_OVER_NS:
            past.pop(0)

    def note(self, incident: Incident) -> None:
        """Something out of the ordinary happened."""
        self.incidents = (*self.incidents, incident)
        if incident.stage is not None:
            (self._silent.add if incident.what == "silent" else self._silent.discard)(incident.stage)

    def lost(self, stage: int, at_ns: int) -> None:
        """The stage has no worker any more."""
        if self._absent_since[stage] is None:  # or a successor was lost before it was ready
            self._absent_since[stage] = at_ns
        self._past[stage].clear()
        self._overlap.leave_out(stage)
        self._activity.leave(stage, at_ns)

    def rejoined(self, stage: int, at_ns: int) -> float:
        """The stage has a worker again; gives the seconds without one, 0 if it always had."""
        since_ns, self._absent_since[stage] = self._absent_since[stage], None
        if since_ns is None:
            return 0.0
        self._overlap.take_back(stage, at_ns)
        self._activity.come_back(stage, at_ns)
        self._spans[stage].append(np.array([[KINDS.index("absent"), -1, since_ns, at_ns]], np.int64))
        return (at_ns - since_ns) / 1e9

    def restarts(self, stage: int) -> int:
        """How many workers of the stage were lost."""
        return sum(incident.what == "lost" and incident.stage == stage for incident in self.incidents)

    @property
    def spans(self) -> tuple[Rows, ...]:
        """Every worker's spans, the first SPANS_MAX or so."""
        return tuple(np.concatenate(parts) if parts else np.empty((0, len(COLUMNS)), np.int64) for parts in self._spans)

    def finish(self) -> None:
        """All reports have come."""
        self._overlap.finish()

    @property
    def seconds(self) -> float:
        """Of training: from the first span to the end of the last, and what came before the run was resumed."""
        return self.seconds_before + self._seconds

    @property
    def _seconds(self) -> float:
        first, last = self._overlap.window_ns
        return (last - first) / 1e9

    @property
    def overlap(self) -> float:
        return self._overlap.share

    def progress(self, seconds: float, epoch: int, samples_fed: int = 0, checkpoint: int | None = None) -> Progress:
        """The run as it is now, `seconds` after its start."""
        views = self.views()
        last = views[-1]
        return Progress(
            seconds=seconds,
            epoch=epoch,
            epochs=self._epochs,
            samples=last.counters.samples,
            samples_fed=samples_fed,
            samples_total=self.samples_total,
            samples_per_s=last.samples_per_s,
            loss=last.counters.loss.value,
            accuracy=last.counters.accuracy.value,
            overlap=self.overlap,
            workers=views,
            evaluations=self.evaluations.done,
            incidents=self.incidents,
            checkpoint=checkpoint,
            cells=self._activity.view(),
        )

    def views(self) -> tuple[WorkerView, ...]:
        """Every worker of late."""
        cells = self._activity.view()
        return tuple(self._view(stage, self._state(stage, cells)) for stage in range(len(self.stages)))

    def busy(self, stage: int) -> float:
        """The share of the whole training time in which the stage computed."""
        return min(self._busy_ns[stage] / 1e9 / self._seconds, 1.0) if self._seconds else 0.0

    def _state(self, stage: int, cells: Bins) -> str:
        if self._absent_since[stage] is not None:
            return "restarting"
        if stage in self._silent:
            return "silent"
        return {WAITING: "waiting", "R": "refining"}.get(cells.texts[stage][-2:-1], "computing")

    def _view(self, stage: int, state: str) -> WorkerView:
        past, rate, busy = self._past[stage], 0.0, 0.0
        if len(past) > 1 and stage not in self._silent:
            (since, samples_then, busy_then), (now, samples_now, busy_now) = past[0], past[-1]
            span = max(now - since, 1)
            rate, busy = (samples_now - samples_then) / span * 1e9, min((busy_now - busy_then) / span, 1.0)
        return WorkerView(stage, self.stages[stage], self.counters[stage], rate, busy, state)
