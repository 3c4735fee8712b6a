"""Event files for TensorBoard, written by tensorboardX."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from decoupled.errors import UsageError
from decoupled.telemetry.board import Progress

EVERY_S = 1.0


class EventFiles:
    """A context in which a run's progress is written to a folder, once a second, against the samples trained on."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError when tensorboardX is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UsageError("--tensorboard needs a package: pip install 'decoupled-trainer[tensorboard]'") from None
        self._make, self._folder = SummaryWriter, folder
        self._writer: Any = None  # made with the first values, when the run has its folder
        self._next_s, self._told = 0.0, set[int]()  # epochs whose evaluation is written

    def __enter__(self) -> "EventFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, progress: Progress) -> None:
        """The run as it is now, if a second has passed, and every evaluation."""
        found = list(_evaluations(progress, self._told))
        self._told = {one.epoch for one in progress.evaluations}
        if progress.seconds >= self._next_s:
            self._next_s = progress.seconds + EVERY_S
            found += _moment(progress)
        if self._writer is None:
            self._writer = self._make(str(self._folder))
        for name, value, step in found:
            self._writer.add_scalar(name, value, step)


def _evaluations(progress: Progress, told: set[int]) -> Iterator[tuple[str, float, int]]:
    for one in progress.evaluations:
        if one.epoch not in told:
            step = one.epoch * progress.samples_total // progress.epochs
            yield "test/loss", one.loss, step
            if one.accuracy is not None:
                yield "test/accuracy", one.accuracy, step


def _moment(progress: Progress) -> Iterator[tuple[str, float, int]]:
    whole = {"samples_per_s": progress.samples_per_s, "loss": progress.loss, "overlap": progress.overlap}
    yield from ((f"train/{name}", value, progress.samples) for name, value in whole.items() if value is not None)
    for view in progress.workers:
        counters = view.counters
        parts = {"busy": view.busy, "staleness": counters.staleness.mean, "inbox": counters.inbox, "stash": counters.stash}
        if counters.head_cosine.value is not None:
            parts["head_cosine"] = counters.head_cosine.value
        yield from ((f"stage{view.stage}/{name}", value, progress.samples) for name, value in parts.items())
