"""Event files for TensorBoard, in the form of tensorboardX. A full disk costs events, not the run."""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from decoupled.errors import UsageError
from decoupled.telemetry.metrics import Progress

EVERY_S = 1.0


class EventFiles:
    """A context in which a run's progress is written to a folder, once a second, against the samples trained on."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        """`warn` hears when no more can be written. Raises UsageError when tensorboardX is not installed."""
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            raise UsageError("--tensorboard needs a package: pip install 'decoupled-trainer[tensorboard]'") from None
        self._folder, self._warn = folder, warn
        self._writer: Any = None  # made with the first values, when the run has its folder
        self._is_over = False
        self._next_s, self._told = 0.0, set[int]()  # epochs whose evaluation is written

    def __enter__(self) -> "EventFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None and not self._is_over:
            with self._unless_full():
                self._writer.close()

    def write(self, progress: Progress) -> None:
        """The run as it is now, if a second has passed, and every evaluation."""
        found = list(_evaluations(progress, self._told))
        self._told = {one.epoch for one in progress.evaluations}
        if progress.seconds >= self._next_s:
            self._next_s = progress.seconds + EVERY_S
            found += _moment(progress)
        if found and not self._is_over:
            self._write(found)

    def _write(self, found: list[tuple[str, float, int]]) -> None:
        """Without the library's own thread, which would hang when the disk is full."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        with self._unless_full():
            if self._writer is None:
                self._folder.mkdir(exist_ok=True)
                name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}"  # as TensorBoard expects it
                self._writer = RecordWriter(str(self._folder / name))
                self._writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
            for name, value, step in found:
                event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
                self._writer.write(event.SerializeToString())

    @contextmanager
    def _unless_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._is_over = True
            if self._writer is not None:
                with suppress(OSError):
                    self._writer.close()
            self._warn(f"{self._folder} cannot be written: {error.strerror}. Training goes on without event files.")


def _evaluations(progress: Progress, told: set[int]) -> Iterator[tuple[str, float, int]]:
    for one in progress.evaluations:
        if one.epoch not in told:
            step = one.epoch * progress.samples_total // progress.epochs
            found = {"loss": one.loss, "accuracy": one.accuracy, "r2": one.r2, "mae": one.mae, **one.metrics}
            yield from ((f"test/{name}", value, step) for name, value in found.items() if value is not None)


def _moment(progress: Progress) -> Iterator[tuple[str, float, int]]:
    whole = {"samples_per_s": progress.samples_per_s, "loss": progress.loss, "overlap": progress.overlap}
    yield from ((f"train/{name}", value, progress.samples) for name, value in whole.items() if value is not None)
    for view in progress.workers:
        counters = view.counters
        parts = {"busy": view.busy, "staleness": counters.staleness.mean, "inbox": counters.inbox, "stash": counters.stash}
        if counters.truth.value is not None:
            parts["truth"] = counters.truth.value
        if counters.head_cosine.value is not None:
            parts["head_cosine"] = counters.head_cosine.value
        yield from ((f"stage{view.stage}/{name}", value, progress.samples) for name, value in parts.items())
