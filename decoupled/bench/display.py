"""Terminal output of a benchmark: its progress, then its tables. In a pipe, plain lines."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from decoupled.bench import race
from decoupled.bench.benchmark import Benchmark
from decoupled.bench.document import BEHAVIOUR, SPEED, behaviour, speed, without_empty


class Steps:
    """Shows which try or trial is running."""

    def __init__(self) -> None:
        self._console = Console()
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "Steps":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Shows that `what` begins, after `done` of `total` trials."""
        if self._console.is_terminal:
            self._bar.update(self._task, description=what, completed=done, total=total)
        else:
            print(what, flush=True)


def figures(benchmark: Benchmark) -> None:
    """Prints the tables and the notes."""
    _table(SPEED, speed(benchmark))
    print()
    if raced := race.rows(benchmark):
        print(race.title(benchmark))
        _table(race.HEAD, raced)
        print()
        for said in race.winners(benchmark):
            print(said)
        print()
    _table(BEHAVIOUR, behaviour(benchmark))
    print()
    for note in benchmark.notes:
        print(note)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    columns, rows = without_empty(columns, rows)
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.no_wrap = True
        column.justify = "left" if column is table.columns[0] else "right"
    for row in rows:
        table.add_row(*row)
    is_terminal = Console().is_terminal
    Console(width=None if is_terminal else 200).print(table)  # a pipe has no width
