"""The cut of a benchmark: all sides with as many workers have the same stages, also where their layers' times are measured."""

from functools import cached_property

from decoupled.bench.held_out import held_out
from decoupled.config import Run
from decoupled.data.dataset import Dataset
from decoupled.data.source import DataSource
from decoupled.nn.model import Stages
from decoupled.runtime.resolve import ResolvedRun, resolve


class Cut:
    """Resolves the runs of a benchmark."""

    def __init__(self, dataset: DataSource) -> None:
        self.dataset = dataset
        self._known: dict[int | None, Stages] = {}  # by the number of workers that the run asks for

    @property
    def can_hold_out(self) -> bool:
        """Whether samples can be held out: of arrays, and not of a source that only gives batches."""
        return isinstance(self.dataset, Dataset)

    @cached_property
    def held_out(self) -> Dataset:
        """The training set alone, a tenth of it to test with."""
        assert isinstance(self.dataset, Dataset)
        return held_out(self.dataset)

    def resolve(self, run: Run) -> ResolvedRun:
        """The run with the stages that others with as many workers have. Raises UsageError as `resolve` does."""
        if run.schedule == "single":
            return resolve(run, self.dataset)
        stages = run.stages or self._known.get(run.workers)
        resolved = resolve(run.model_copy(update={"stages": stages}), self.dataset)
        if resolved.run.stages is not None:
            self._known[run.workers] = resolved.run.stages
        return resolved
