"""What a person reads in a terminal: a live table while training, tables after. In a pipe, plain lines."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from decoupled import data
from decoupled.config import Run
from decoupled.data.dataset import Dataset
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL, REGRESSION
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import ResolvedRun
from decoupled.telemetry.metrics import Progress

LINE_EVERY_S = 2.0  # in a pipe


UNITS = {CLASSIFICATION: "classes", MULTILABEL: "bits", REGRESSION: "values"}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def unless_full() -> Iterator[None]:
    """Lets output go unseen that is written to a file on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


def say(text: str) -> None:
    """A line, at once."""
    with unless_full():
        print(text, flush=True)


class Display:
    """Shows a run while it goes on."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._console = Console()
        self._live: Live | None = None
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("samples"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(f"{run.schedule} on {run.data_name}", total=None)
        self._next_line_s = 0.0
        self._evaluations_shown = 0
        self._incidents_shown: int | None = None

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live = Live(self._bar, console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self, resolved: ResolvedRun) -> None:
        """What is learnt from what."""
        source = resolved.dataset
        samples = f"{source.samples:,} samples to train on and {source.test_samples:,} to test with"
        what = UNITS[source.targets.task] if source.outputs != 1 else UNITS[source.targets.task].rstrip("s")
        what += " at each position" if source.targets.are_tokens else ""
        is_guess = self._run.task is None and isinstance(source, Dataset) and source.name not in data.NAMES
        guess = ", as its targets look (--task says what they are)" if is_guess else ""
        say(f"{source.name}: {samples}; {source.targets.task}, {source.outputs:,} {what}{guess}")

    def waiting(self, address: str, joined: int, wanted: int) -> None:
        """Where workers are awaited, and how many have come."""
        if address.startswith("tcp://"):
            with unless_full():
                self._console.print(f"{joined} of {wanted} workers have joined at {address}", highlight=False, soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Something that the run survives."""
        with unless_full():
            self._console.print(f"warning: {sentence}", highlight=False, soft_wrap=True)

    def progress(self, progress: Progress) -> None:
        """The run as it is now."""
        with unless_full():
            self._show(progress)

    def _show(self, progress: Progress) -> None:
        if self._live is not None:
            self._bar.update(self._task, total=progress.samples_total, completed=progress.samples_fed)
            self._live.update(Group(self._bar, _workers(progress)), refresh=True)
        elif progress.samples_per_s and progress.seconds >= self._next_line_s:
            self._next_line_s = progress.seconds + LINE_EVERY_S
            print(_line(progress), flush=True)
        for evaluation in progress.evaluations[self._evaluations_shown :]:
            score = scored(evaluation.loss, evaluation.accuracy, evaluation.r2, evaluation.mae, evaluation.metrics)
            self._console.print(f"after epoch {evaluation.epoch}: {score}", highlight=False, soft_wrap=True)
        self._evaluations_shown = len(progress.evaluations)
        if self._incidents_shown is None:  # what happened before the run was resumed has been told
            self._incidents_shown = max((i for i, one in enumerate(progress.incidents) if one.what == "resumed"), default=0)
        for incident in progress.incidents[self._incidents_shown :]:
            self._console.print(f"{incident.seconds:6.1f} s  {incident}", highlight=False, soft_wrap=True)
        self._incidents_shown = len(progress.incidents)


def _line(progress: Progress) -> str:
    loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
    return f"{progress.seconds:6.1f} s  epoch {progress.epoch}/{progress.epochs}, {progress.samples_per_s:,.0f} samples/s{loss}"


def _workers(progress: Progress) -> Table:
    table = Table(
        "stage",
        "layers",
        "samples/s",
        "busy %",
        "wait %",
        "staleness",
        "true %",
        "head cosine",
        "loss",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for view in progress.workers:
        counters = view.counters
        table.add_row(
            str(view.stage),
            ",".join(map(str, view.layers)),
            f"{view.samples_per_s:,.0f}",
            f"{view.busy:.0%}"[:-1],
            f"{view.wait:.0%}"[:-1],
            f"{counters.staleness.mean:.1f}",
            "-" if counters.truth.value is None else f"{counters.truth.value:.0%}"[:-1],
            _number(counters.head_cosine.value, ".2f"),
            _number(counters.loss.value, ".4f"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def scored(loss: float, accuracy: float | None, r2: float | None, mae: float | None, metrics: Mapping[str, float]) -> str:
    """What a test set gave, in words. The loss of values is that of standardised ones; their error is in the user's units."""
    return ", ".join([_usual(loss, accuracy, r2, mae), *(f"{name} {value:,.4g}" for name, value in metrics.items())])


def _usual(loss: float, accuracy: float | None, r2: float | None, mae: float | None) -> str:
    if accuracy is not None:
        return f"test accuracy {accuracy:.2%}, test loss {loss:.4f}"
    if mae is None:
        return f"test loss {loss:.4f}"
    return f"test R2 {_number(r2, '.4f')}, mean absolute error {mae:,.4g}, test loss {loss:.4f} (of standardised values)"


def summary(report: Report) -> None:
    """The end of a run."""
    print(
        f"{report.schedule} on {report.data}: "
        f"{scored(report.test_loss, report.test_accuracy, report.test_r2, report.test_mae, report.test_metrics)}; "
        f"{report.samples_per_s:,.0f} samples/s, {report.seconds:.1f} s, overlap {report.overlap:.2f}"
    )
    if dropped := sum(worker.dropped for worker in report.workers_detail):
        print(f"{dropped:,} outputs found no room downstream and were dropped, so the stages after trained on fewer samples.")
    if missed := max(worker.samples_missed for worker in report.workers_detail):
        print(f"Up to {missed:,} samples were missed by a stage; account.json says which.")
    if report.folder is not None:
        print(f"The run is in {report.folder}")


def comparison(runs: dict[str, dict[str, Any]]) -> None:
    """Finished runs side by side, from their report.json, by name; names are shown where schedules do not tell runs apart."""
    reports = list(runs.values())
    reference = next((report for report in reports if report["schedule"] == "lockstep"), reports[0])
    is_named = len({report["schedule"] for report in reports}) < len(reports)
    has_values = any(report["test_r2"] is not None for report in reports)
    is_mixed = has_values and any(report["test_accuracy"] is not None for report in reports)
    table = Table(box=None, padding=(0, 1 if is_named else 2, 0, 0))
    if is_named:
        table.add_column("run", overflow="fold")
    table.add_column("schedule", no_wrap=True)
    accuracy = [("accuracy" if is_named or is_mixed else "test accuracy", "test_accuracy", ".2%")]
    values = [("R2" if is_named or is_mixed else "test R2", "test_r2", ".4f"), ("error", "test_mae", ",.4g")]
    scores = accuracy + values if is_mixed else values if has_values else accuracy
    usual = [
        ("workers", "workers", ""),
        ("samples/s", "samples_per_s", ",.0f"),
        ("speed-up", "", ""),
        ("overlap", "overlap", ".2f"),
    ]
    metrics = list(dict.fromkeys(name for report in reports for name in report["test_metrics"]))
    is_wide = is_mixed or metrics  # all of them would not fit
    columns = [*(usual[1:3] if is_wide else usual), *scores, ("seconds", "seconds", ".1f")]
    for title, _, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for title in metrics:
        table.add_column(Text(title), justify="right")
    for name, report in runs.items():
        cells = [_number(report[key], form) if key else _speed_up(report, reference) for _, key, form in columns]
        cells += [_number(report["test_metrics"].get(metric), ",.4g") for metric in metrics]
        table.add_row(*([Text(name)] if is_named else []), report["schedule"], *cells)
    Console().print(table)


def _speed_up(report: dict[str, Any], reference: dict[str, Any]) -> str:
    """Rates of different data say nothing about each other."""
    return f"{report['samples_per_s'] / reference['samples_per_s']:.2f} x" if report["data"] == reference["data"] else "-"
