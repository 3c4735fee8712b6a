"""A job for PyTorch, and the loop over its updates, which one process and pipelines share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from time import perf_counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from decoupled.config import Run
from decoupled.data import batches
from decoupled.data.source import Batch
from decoupled.errors import UsageError
from decoupled.runtime.resolve import ResolvedRun
from decoupled.telemetry.counters import peak_rss_mb


class Job(BaseModel):
    """A run, how torch is to run it, and which of its updates are timed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Run
    kind: Literal["single", "gpipe", "1f1b"]
    threads: int = Field(ge=1)  # torch's, of each process
    fused: bool  # whether the optimiser is torch's fused one
    stages: tuple[tuple[int, ...], ...]  # of a pipeline: which layers each process has
    microbatches: int = Field(ge=1)  # of a pipeline, in each minibatch
    updates_max: int | None = Field(ge=1)  # None: the whole run
    warm_up: int = Field(ge=0)  # updates before the time counts
    is_held_out: bool = False  # a quarter of the run on a part of its training set, tested with the rest

    @property
    def is_pipeline(self) -> bool:
        return self.kind != "single"

    @property
    def workers(self) -> int:
        return len(self.stages) if self.is_pipeline else 1


@dataclass(slots=True)
class Trained:
    """What one process has done; the samples and seconds are those after the warm-up, without evaluations."""

    updates: int = 0
    samples: int = 0
    seconds: float = 0.0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    peak_rss_mb: float = 0.0


Learn = Callable[[Batch], None]  # one update


def check(job: Job, resolved: ResolvedRun) -> None:
    """Raises UsageError for what cannot be trained, or leaves nothing to measure."""
    if job.is_pipeline and job.run.batch % job.microbatches:
        raise UsageError(f"A batch of {job.run.batch} cannot be split into {job.microbatches} equal microbatches.")
    if job.is_pipeline and [layer for stage in job.stages for layer in stage] != list(range(resolved.model.layers)):
        raise UsageError(f"The stages must hold the layers 0 to {resolved.model.layers - 1} in order.")
    if job.kind == "1f1b" and job.microbatches < job.workers:
        raise UsageError(f"1f1b needs a microbatch for each worker: {job.microbatches} are too few for {job.workers}.")
    if (updates := _updates(job, resolved)) <= job.warm_up:
        raise UsageError(f"With {updates} updates and {job.warm_up} of them for warming up, none is left to measure.")


def note(job: Job, resolved: ResolvedRun) -> str:
    if not job.is_pipeline:
        return ""
    notes = ["not evaluated"]
    skipped = batches.count(resolved.dataset.samples, job.run.batch) - _epoch_updates(job, resolved)
    if skipped:
        notes.append("the last minibatch of each epoch, of another size, is skipped because a pipeline's shapes are fixed")
    if job.microbatches > 1:
        notes.append("batch norm, where there is any, uses the statistics of each microbatch")
    return "; ".join(notes)


def minibatches_of(job: Job, resolved: ResolvedRun) -> Iterator[tuple[int, Batch]]:
    """Each update's epoch and samples, in the run's order."""
    run, prepare = resolved.run, resolved.feed.prepare
    for epoch in range(1, run.epochs + 1):
        for x, y in resolved.dataset.batches(run.batch, epoch, 0, run.seed):
            if not job.is_pipeline or len(x) == run.batch:
                yield epoch, (prepare(x), y)


def _epoch_updates(job: Job, resolved: ResolvedRun) -> int:
    bounds = batches.bounds(resolved.dataset.samples, job.run.batch)
    return sum(not job.is_pipeline or stop - start == job.run.batch for start, stop in bounds)


def _updates(job: Job, resolved: ResolvedRun) -> int:
    """How many updates the job makes."""
    updates = resolved.run.epochs * _epoch_updates(job, resolved)
    return min(updates, job.updates_max or updates)


def drive(job: Job, resolved: ResolvedRun, learn: Learn, evaluate: Callable[[], dict[str, Any]] | None) -> Trained:
    """Makes and times every update of the job, and evaluates when the run says so."""
    begun = perf_counter()
    trained, every, total = Trained(), resolved.run.runtime.evaluate_every, _updates(job, resolved)
    for epoch, minibatches in groupby(islice(minibatches_of(job, resolved), total), key=itemgetter(0)):
        since = perf_counter()
        for _, batch in minibatches:
            learn(batch)
            trained.updates += 1
            if trained.updates == job.warm_up:
                since = perf_counter()
            elif trained.updates > job.warm_up:
                trained.samples += len(batch[1])
        if trained.updates > job.warm_up:
            trained.seconds += perf_counter() - since
        if evaluate and (trained.updates == total or (every and epoch % every == 0)):
            trained.evaluations.append({"epoch": epoch} | evaluate() | {"seconds": perf_counter() - begun})
    trained.peak_rss_mb = peak_rss_mb()
    return trained
