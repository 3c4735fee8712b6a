"""Stand-ins for trials, and for whoever watches them."""

from pathlib import Path

from decoupled.bench.trial import Outcome
from decoupled.config import Run
from decoupled.runtime.resolve import ResolvedRun
from tests.bench.cases import outcome

FOLDER = Path("runs")


class Trials:
    """Stands in for the trials: notes each, and has a rate for each number of microbatches, or of threads."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}
        self.with_threads: dict[int, float] = {}
        self.done: list[tuple[str, Run]] = []  # the folder's name and the run

    def __call__(self, resolved: ResolvedRun, folder: Path, warm_up: int, target: float | None) -> Outcome:
        self.done.append((folder.name, resolved.run))
        usual = self.with_threads.get(resolved.run.runtime.threads, 100.0)
        return outcome(self.rates.get(resolved.run.microbatches or 1, usual))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]

    def run(self, name: str) -> Run:
        return dict(self.done)[name]


def silent(what: str, done: int, total: int) -> None:
    """For a benchmark that nobody watches."""
