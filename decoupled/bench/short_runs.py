"""Short runs in this process that tell how fast a side is with some settings, or how well it learns."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from decoupled import api
from decoupled.bench import steady
from decoupled.bench.trial import stretches, update_sizes
from decoupled.config import Run
from decoupled.data import batches
from decoupled.data.dataset import Dataset
from decoupled.data.source import DataSource
from decoupled.launch.local import KeptWorkers
from decoupled.launch.run_coordinator import Callbacks, ignore, run_coordinator
from decoupled.runtime.resolve import ResolvedRun
from decoupled.runtime.single import train_single

TIMED_UPDATES = 40


def shortened(resolved: ResolvedRun, warm_up: int, timed: int = TIMED_UPDATES) -> ResolvedRun:
    """The run with as much data and as many updates as a try takes, evaluated once, without faults."""
    run, updates = resolved.run, warm_up + timed + warm_up
    short = _first(resolved.dataset, updates * run.batch, run.batch)
    epochs = min(math.ceil(updates / batches.count(short.samples, run.batch)), run.epochs)
    return replace(resolved, run=spared(run, epochs), dataset=short)


def spared(run: Run, epochs: int) -> Run:
    """The run for so many epochs, evaluated once, without faults and kills."""
    runtime = run.runtime.model_copy(update={"evaluate_every": 0})
    emulation = run.emulation.model_copy(update={"kill_every_s": None})
    return run.model_copy(update={"faults": (), "emulation": emulation, "epochs": epochs, "runtime": runtime})


def _first(dataset: DataSource, samples: int, test_samples: int) -> DataSource:
    """As many samples of arrays; a source that only gives batches stays whole."""
    if not isinstance(dataset, Dataset):
        return dataset
    x, y = dataset.x_train[:samples], dataset.y_train[:samples]
    return replace(dataset, x_train=x, y_train=y, x_test=dataset.x_test[:test_samples], y_test=dataset.y_test[:test_samples])


@dataclass(frozen=True, slots=True)
class Tried:
    """What a try came to."""

    samples_per_s: float  # steady
    accuracy: float | None  # None where right and wrong mean nothing


@contextmanager
def trying(threads: int, warm_up: int, code: Sequence[str] = ()) -> Iterator[Callable[[ResolvedRun], Tried]]:
    """A function that trains a run.

    The worker processes of one run, each with so many BLAS threads and that code of the user's, serve the next: to start
    them takes longer than a try. They end with the context.
    """
    with TemporaryDirectory(prefix="decoupled-try-") as folder, KeptWorkers(threads, code) as workers:
        yield lambda resolved: _try(resolved, Path(folder), workers, warm_up)


def _try(resolved: ResolvedRun, folder: Path, workers: KeptWorkers, warm_up: int) -> Tried:
    if resolved.run.schedule == "single":
        report = train_single(resolved, ignore)
    else:
        store = api.store_of(folder, resolved.run, ignore)
        report = run_coordinator(resolved, store, None, Callbacks(), workers.for_a_run())
    rate = steady.samples_per_s(report.spans, update_sizes(resolved), stretches(resolved), warm_up)
    return Tried(rate or report.samples_per_s, report.test_accuracy)
