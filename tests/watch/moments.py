"""Records of runs written by hand."""

import json
from pathlib import Path
from typing import Any

from decoupled.config import Run
from decoupled.config.text import to_toml
from decoupled.watch.records import Record, parse

WORKER: dict[str, Any] = {
    "stage": 0,
    "layers": [0],
    "state": "computing",
    "samples_per_s": 1000.0,
    "busy": 0.75,
    "samples": 640,
    "updates": 10,
    "refined": 2,
    "stash": 1,
    "inbox": 3,
    "staleness_mean": 1.5,
    "staleness_max": 4.0,
    "head_cosine": 0.5,
    "head_norm_ratio": 1.0,
    "head_relative_error": 0.8,
    "unmatched_gradients": 0,
    "evicted": 0,
    "dropped": 0,
    "bytes_sent": 5000,
    "bytes_received": 4000,
    "peak_rss_mb": 190.0,
}


def worker(stage: int, **values: Any) -> dict[str, Any]:
    """What a record says of a stage."""
    return WORKER | {"stage": stage, "layers": [stage]} | values


def values(seconds: float = 1.0, count: int = 2, cell: str = "F9", cells: int = 50, **others: Any) -> dict[str, Any]:
    """A record as it stands in metrics.jsonl: a quarter of a second in which all workers did the same."""
    return {
        "seconds": seconds,
        "epoch": 1,
        "samples": int(seconds * 1000),
        "samples_fed": int(seconds * 1000),
        "samples_total": 10_000,
        "samples_per_s": 1000.0,
        "loss": 0.5,
        "accuracy": 0.9,
        "overlap": 0.8,
        "checkpoint": None,
        "evaluations": [],
        "incidents": [],
        "cells_end": int(seconds * 200),
        "strips": [cell * cells] * count,
        "workers": [worker(stage) for stage in range(count)],
    } | others


def moment(seconds: float = 1.0, **others: Any) -> Record:
    """A record."""
    return parse(json.dumps(values(seconds, **others)).encode())


def lost(seconds: float, stage: int = 1) -> dict[str, Any]:
    """An incident."""
    return {"seconds": seconds, "stage": stage, "what": "lost", "detail": "its process ended"}


def evaluation(epoch: int, seconds: float, accuracy: float | None = 0.9, **more: Any) -> dict[str, Any]:
    """What an epoch's evaluation gave; with no more than this, as earlier versions wrote it."""
    return {"epoch": epoch, "loss": 0.25, "accuracy": accuracy, "seconds": seconds} | more


def begin(folder: Path, **options: Any) -> Path:
    """Makes the folder of a run that has said nothing yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(to_toml(Run(hidden=(16,), **options)))
    return folder


def go_on(folder: Path, *records: dict[str, Any]) -> None:
    """Writes the next records of a run."""
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
