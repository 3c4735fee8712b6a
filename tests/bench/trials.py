"""Stand-ins for trials and tries, and for whoever watches them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from decoupled.bench.short_runs import Tried
from decoupled.bench.trial import Outcome
from decoupled.config import Run
from decoupled.runtime.resolve import ResolvedRun
from tests.bench.cases import outcome

FOLDER = Path("runs")


class Trials:
    """Stands in for trials and tries: notes each, and has a rate for each number of microbatches, or of threads."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}
        self.with_threads: dict[int, float] = {}
        self.done: list[tuple[str, Run]] = []  # the folder's name and the run
        self.with_extra: dict[int, float] = {}
        self.accuracies: dict[float, float] = {}  # by the learning rate
        self.tried: list[ResolvedRun] = []

    def __call__(self, resolved: ResolvedRun, folder: Path, warm_up: int, target: float | None, by_clock: bool) -> Outcome:
        self.done.append((folder.name, resolved.run))
        return outcome(self._rate(resolved.run))

    @contextmanager
    def trying(self, threads: int, warm_up: int, code: Sequence[str]) -> Iterator[Callable[[ResolvedRun], Tried]]:
        def train(resolved: ResolvedRun) -> Tried:
            self.tried.append(resolved)
            return Tried(self._rate(resolved.run), self.accuracies.get(resolved.run.lr, 0.5))

        yield train

    def _rate(self, run: Run) -> float:
        of_extra = self.with_extra.get(run.args.schedule.get("extra", 0), 100.0)
        return self.rates.get(run.microbatches or 1, self.with_threads.get(run.runtime.threads, of_extra))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]

    def run(self, name: str) -> Run:
        return dict(self.done)[name]


def silent(what: str, done: int, total: int) -> None:
    """For a benchmark that nobody watches."""
