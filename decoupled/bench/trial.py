"""A trial: one side, trained once by the command that a user would start, so that no trial affects the next."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from decoupled import folders
from decoupled.bench import steady
from decoupled.config import to_toml
from decoupled.data import batches
from decoupled.errors import RunFailed
from decoupled.runtime.resolve import ResolvedRun

END_S = 10.0  # after which a child that was told to stop is killed


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one trial."""

    samples_per_s: float  # once steady
    target_s: float | None  # of steady training until the first evaluation at or above the target; None: there is none
    report: dict[str, Any]  # as `train --json` gives it; of a peer, the fields that it has

    def to_json(self) -> dict[str, Any]:
        return {"steady_samples_per_s": round(self.samples_per_s, 1), "target_s": self.target_s} | self.report


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several values, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


def train(resolved: ResolvedRun, folder: Path, warm_up: int, target: float | None, by_clock: bool = False) -> Outcome:
    """Trains the run with the command `decoupled train`, into `folder`. Raises RunFailed with its error message."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = folder.with_name(f"{folder.name}.toml")
    config.write_text(to_toml(resolved.run), encoding="utf-8")
    try:
        child([sys.executable, "-m", "decoupled", "train", "--config", str(config), "--out", str(folder)])
    finally:
        config.unlink()  # the run's folder holds the same
    return outcome(resolved, folder, warm_up, target, by_clock)


def outcome(resolved: ResolvedRun, folder: Path, warm_up: int, target: float | None, by_clock: bool = False) -> Outcome:
    """The result of the run that was trained into `folder`, steady or by its clock."""
    report = folders.load_report(folder) | {"folder": str(folder), "memory_growth_mb": memory_growth_mb(folder)}
    spans = folders.load_spans(folder)
    for worker, rows in zip(report["workers_detail"], spans, strict=True):
        worker["steady_samples_per_s"] = steady.own_rate(rows, worker["samples"], warm_up)
    own = [worker["steady_samples_per_s"] for worker in report["workers_detail"]]
    rate = steady.samples_per_s(spans, update_sizes(resolved), stretches(resolved), warm_up)
    if by_clock:
        rate = report["samples_per_s"]
    elif rate is None:  # outputs were dropped, so that the stages made different numbers of updates
        rate = report["samples_per_s"] if None in own else min(own)
    report["evaluations"] = timed(report["evaluations"], resolved.dataset.samples, None if by_clock else rate)
    return Outcome(rate, seconds_to(target, report["evaluations"]), report)


def memory_growth_mb(folder: Path) -> float:
    """By how much the workers' peak memory together grew after the first quarter of the run; 0 where it is not known."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    whole = [line for line in lines if all(worker["peak_rss_mb"] for worker in line["workers"])]  # all have reported
    done = [line for line in whole if line["samples"] >= lines[-1]["samples"] / 4]
    if not done:
        return 0.0
    first, last = (sum(worker["peak_rss_mb"] for worker in line["workers"]) for line in (done[0], done[-1]))
    return float(round(last - first, 1))


def update_sizes(resolved: ResolvedRun) -> list[int]:
    """The samples of each update of the run."""
    epoch = [stop - start for start, stop in batches.bounds(resolved.dataset.samples, resolved.run.batch)]
    return epoch * resolved.run.epochs


def stretches(resolved: ResolvedRun) -> list[int]:
    """How many updates there are before the first evaluation, between it and the second, and so on."""
    run = resolved.run
    every = run.runtime.evaluate_every or run.epochs
    per_epoch = batches.count(resolved.dataset.samples, run.batch)
    return [min(every, run.epochs - start) * per_epoch for start in range(0, run.epochs, every)]


def timed(evaluations: list[dict[str, Any]], samples_per_epoch: int, rate: float | None) -> list[dict[str, Any]]:
    """The evaluations, each with the seconds that training at that rate takes to it, or that it took by the run's clock."""
    seconds = [one["seconds"] if rate is None else one["epoch"] * samples_per_epoch / rate for one in evaluations]
    return [one | {"training_s": round(s, 3)} for one, s in zip(evaluations, seconds, strict=True)]


def seconds_to(target: float | None, evaluations: list[dict[str, Any]]) -> float | None:
    """The seconds of training to the first evaluation at or above the target."""
    if target is None:
        return None
    return next((one["training_s"] for one in evaluations if one["accuracy"] is not None and one["accuracy"] >= target), None)


def child(command: list[str], given: str = "") -> str:
    """Runs a process and gives what it printed. Raises RunFailed with the last line that it printed when it fails.

    If this process is interrupted, the child is ended too. It has its own process group, so that Ctrl-C reaches it only
    through this process.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, process_group=0) as process:
        try:
            said, complained = process.communicate(given)
        except BaseException:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if process.returncode:
        words = (complained or said).strip().splitlines()
        raise RunFailed(words[-1].removeprefix("error: ") if words else f"The process ended with exit code {process.returncode}.")
    return said
