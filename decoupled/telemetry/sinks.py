"""Sinks: where records go. A run's own is metrics.jsonl, one JSON object a line, whole after every line."""

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from decoupled.telemetry.metrics import Progress, WorkerView

TAIL_BYTES = 1 << 23  # more than a line has


class MetricsFile:
    """Appends records to a file; a reader may follow it while the run goes on. A full disk costs records, not the run."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = path, warn
        self._file = path.open("ab", buffering=0)
        self._file.seek(self._file.truncate(_whole_lines(path)))  # without a line that a power cut left half written
        self._lost = 0  # records that could not be written, since one could

    def write(self, record: dict[str, Any]) -> bool:
        """Says whether the record is on its way to the disk."""
        line = (json.dumps(finite(record), allow_nan=False) + "\n").encode()
        end = self._file.tell()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.truncate(end)  # no half of a line
            self._file.seek(end)
            if not self._lost:
                self._warn(f"{self._path} cannot be written: {error.strerror}. Training goes on, and some of it is not recorded.")
            self._lost += 1
            return False
        self._lost = 0
        return True

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def _whole_lines(path: Path) -> int:
    """The bytes of a file up to its last end of a line."""
    with path.open("rb") as file:
        before = max(path.stat().st_size - TAIL_BYTES, 0)
        file.seek(before)
        return before + file.read().rfind(b"\n") + 1


def finite(value: Any) -> Any:
    """The same with None for what JSON has no number for: a loss that went to infinity."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class MetricsRecorder:
    """Makes records of a run for metrics.jsonl. What happened once is in one record only."""

    def __init__(self) -> None:
        self._epochs = set[int]()  # whose evaluations have been told
        self._incidents = self._cells_end = 0

    def record(self, progress: Progress) -> dict[str, Any]:
        """A moment of the run, and what is new in it."""
        return _moment(progress) | {
            "evaluations": [asdict(one) for one in progress.evaluations if one.epoch not in self._epochs],
            "incidents": [asdict(incident) for incident in progress.incidents[self._incidents :]],
            "cells_end": progress.cells.end,
            "strips": list(progress.cells.since(self._cells_end)),
        }

    def told(self, progress: Progress) -> None:
        """Its record was kept."""
        self._epochs = {one.epoch for one in progress.evaluations}
        self._incidents, self._cells_end = len(progress.incidents), progress.cells.end


def _moment(progress: Progress) -> dict[str, Any]:
    return {
        "seconds": round(progress.seconds, 3),
        "epoch": progress.epoch,
        "samples": progress.samples,
        "samples_fed": progress.samples_fed,
        "samples_total": progress.samples_total,
        "samples_per_s": round(progress.samples_per_s, 1),
        "loss": progress.loss,
        "accuracy": progress.accuracy,
        "overlap": round(progress.overlap, 4),
        "checkpoint": progress.checkpoint,
        "workers": [_worker(view) for view in progress.workers],
    }


def _worker(view: WorkerView) -> dict[str, Any]:
    counters = view.counters
    return {
        "stage": view.stage,
        "layers": list(view.layers),
        "state": view.state,
        "samples_per_s": round(view.samples_per_s, 1),
        "busy": round(view.busy, 4),
        "samples": counters.samples,
        "updates": counters.updates,
        "refined": counters.refined,
        "stash": counters.stash,
        "inbox": counters.inbox,
        "staleness_mean": round(counters.staleness.mean, 3),
        "staleness_max": counters.staleness.maximum,
        "truth": counters.truth.value,
        "head_cosine": counters.head_cosine.value,
        "head_norm_ratio": counters.head_norm_ratio.value,
        "head_relative_error": counters.head_relative_error.value,
        "unmatched_gradients": counters.unmatched_gradients,
        "evicted": counters.evicted,
        "dropped": counters.dropped,
        "bytes_sent": counters.bytes_sent,
        "bytes_received": counters.bytes_received,
        "peak_rss_mb": round(counters.peak_rss_mb, 1),
    }
