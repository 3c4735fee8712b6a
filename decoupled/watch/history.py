"""The history of a run so far, made from its records. Pure: records come in, plain values for JSON go out."""

from collections import deque
from collections.abc import Set
from typing import Any

from decoupled.watch.records import Event, Record

POINTS_MAX = 1_000  # of the charts; then every second one is dropped
EVENTS_MAX = 200
CELLS_MAX = 6_000  # 30 s
CELL_MS = 5
EVICTED_EVERY_S = 10.0  # of training: so often it is told how many gradients were given up

TOTALS = ("samples", "updates", "refined", "evicted", "unmatched_gradients", "dropped", "bytes_sent", "bytes_received")


class RunHistory:
    """What a browser that comes late has to be told."""

    def __init__(self) -> None:
        self.number = 0  # of records
        self.last: Record | None = None
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.events_number = 0
        self._history: list[dict[str, Any]] = []
        self._stride = 1  # records for each point
        self._evaluations: dict[int, dict[str, Any]] = {}  # by epoch
        self._strips: list[str] = []
        self.cells_end = 0
        self._lost: dict[tuple[int, str], int] = {}  # of the totals, with workers that were lost
        self._evicted_told: dict[int, tuple[float, int]] = {}  # when, and how many

    def add(self, record: Record) -> None:
        """The next moment of the run."""
        if self.last is not None and (record.seconds < self.last.seconds or len(record.workers) != len(self.last.workers)):
            self._go_back(record)
        if self.last is None:
            count = len(record.workers)
            self.note(Event(seconds=0.0, stage=None, what="began", detail=f"{count} worker{'s' if count > 1 else ''}"))
        if record.checkpoint is not None and (self.last is None or record.checkpoint != self.last.checkpoint):
            detail = f"after microbatch {record.checkpoint:,}"
            self.note(Event(seconds=record.seconds, stage=None, what="checkpoint", detail=detail))
        self._add_up(record)
        self.last = record
        self.number += 1
        self._evaluations |= {one.epoch: one.model_dump() for one in record.evaluations}
        for incident in record.incidents:
            if incident not in self.events:  # a resumed run tells what happened before
                self.note(incident)
        self._tell_evicted(record)
        self._keep_point(record)
        self._keep_cells(record)

    def note(self, event: Event) -> None:
        """Something happened."""
        self.events.append(event)
        self.events_number += 1

    def _go_back(self, record: Record) -> None:
        """The run was resumed from an earlier moment: what came after is not of it."""
        self._history = [point for point in self._history if point["seconds"] < record.seconds]
        self._evaluations = {epoch: one for epoch, one in self._evaluations.items() if one["seconds"] < record.seconds}
        self._evicted_told.clear()
        if self.last is not None and len(record.workers) != len(self.last.workers):
            self._history, self._strips = [], []

    def _add_up(self, record: Record) -> None:
        """A successor's totals go on from the last checkpoint: what came after that was lost with the worker."""
        if self.last is None or len(self.last.workers) != len(record.workers):
            return
        for before, worker in zip(self.last.workers, record.workers, strict=True):
            for name in TOTALS:
                if getattr(worker, name) < (known := getattr(before, name)):
                    self._lost[worker.stage, name] = self._lost.get((worker.stage, name), 0) + known

    def _tell_evicted(self, record: Record) -> None:
        for worker in record.workers:
            at, told = self._evicted_told.get(worker.stage, (-EVICTED_EVERY_S, 0))
            if worker.evicted > told and record.seconds >= at + EVICTED_EVERY_S:
                count = worker.evicted - told
                detail = f"{count:,} gradient{'s' if count > 1 else ''} given up"
                self.note(Event(seconds=record.seconds, stage=worker.stage, what="evicted", detail=detail))
                self._evicted_told[worker.stage] = (record.seconds, worker.evicted)

    def _keep_point(self, record: Record) -> None:
        if self.number % self._stride:
            return
        self._history.append(
            {
                "seconds": record.seconds,
                "samples_per_s": record.samples_per_s,
                "loss": record.loss,
                "busy": [worker.busy for worker in record.workers],
                "staleness": [worker.staleness_mean for worker in record.workers],
                "truth": [worker.truth for worker in record.workers],
                "head_cosine": [worker.head_cosine for worker in record.workers],
            }
        )
        if len(self._history) > POINTS_MAX:
            self._history = self._history[1::2]
            self._stride *= 2

    def _keep_cells(self, record: Record) -> None:
        new = len(record.strips[0]) // 2
        gap = record.cells_end - new - self.cells_end if self.cells_end else 0
        before = [text + "?0" * min(max(gap, 0), CELLS_MAX) for text in self._strips] or [""] * len(record.strips)
        pairs = zip(before, record.strips, strict=True)
        self._strips = [(text + strip)[-2 * CELLS_MAX :] for text, strip in pairs]
        self.cells_end = record.cells_end

    def now(self) -> dict[str, Any]:
        """The last moment; empty before the first."""
        return {} if self.last is None else self.last.model_dump(exclude={"evaluations", "incidents", "strips", "cells_end"})

    @property
    def is_interrupted(self) -> bool:
        """The last record says that the run ended early."""
        return self.last is not None and any(one.what == "interrupted" for one in self.last.incidents[-1:])

    def totals(self) -> list[dict[str, int]]:
        """What each stage's workers have done together, the lost ones too: it never gets less."""
        workers = self.last.workers if self.last is not None else ()
        return [{name: getattr(one, name) + self._lost.get((one.stage, name), 0) for name in TOTALS} for one in workers]

    @property
    def epochs(self) -> set[int]:
        """Those with an evaluation."""
        return set(self._evaluations)

    def evaluations(self, known: Set[int] = frozenset()) -> list[dict[str, Any]]:
        """All so far, by epoch, but for those of known epochs."""
        return [self._evaluations[epoch] for epoch in sorted(self._evaluations.keys() - known)]

    def cells(self, count: int = CELLS_MAX) -> dict[str, Any]:
        """The last cells of every worker."""
        return {"ms": CELL_MS, "end": self.cells_end, "strips": [text[-2 * count :] if count else "" for text in self._strips]}

    def points(self) -> dict[str, list[Any]]:
        """The points of the charts, a list for each quantity."""
        names = self._history[0] if self._history else ()
        return {name: [point[name] for point in self._history] for name in names}
