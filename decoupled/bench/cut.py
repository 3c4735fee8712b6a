"""The cut of a benchmark: all sides with as many workers have the same stages, also where their layers' times are measured."""

from decoupled.config import Run
from decoupled.data.source import DataSource
from decoupled.nn.model import Stages
from decoupled.runtime.resolve import ResolvedRun, resolve


class Cut:
    """Resolves the runs of a benchmark."""

    def __init__(self, dataset: DataSource) -> None:
        self.dataset = dataset
        self._known: dict[int | None, Stages] = {}  # by the number of workers that the run asks for

    def resolve(self, run: Run) -> ResolvedRun:
        """The run with the stages that others with as many workers have. Raises UsageError as `resolve` does."""
        if run.schedule == "single":
            return resolve(run, self.dataset)
        stages = run.stages or self._known.get(run.workers)
        resolved = resolve(run.model_copy(update={"stages": stages}), self.dataset)
        if resolved.run.stages is not None:
            self._known[run.workers] = resolved.run.stages
        return resolved
