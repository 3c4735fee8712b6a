"""Chaos: one training run in which everything goes wrong that can, and what it came to beside a quiet one.

`python -m tests.chaos --minutes 30` runs it as a soak. Each cycle has a coordinator of its own. In it every worker is
killed once, at a seeded random moment, a link is partitioned, gradients are dropped and the disk is full for a while; then
the coordinator is killed, and the next one resumes the run.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

COMMAND = [sys.executable, "-m", "decoupled", "train"]
BATCH = 64
RUN = ["--data", "digits", "--hidden", "64,64,64", "--batch", str(BATCH)]
SETTINGS = ["checkpoint.every_s=1", "supervision.restarts_max=1000", "dni.patience_s=2"]
SAMPLES, STAGES = 1437, 4
QUIET_EPOCHS = 100
DROP, PARTITION_S, FULL_S, LOOK_S = 0.1, 3.0, 2.0, 0.1


@dataclass
class Outcome:
    """What the run came to."""

    report: dict[str, Any]
    account: dict[str, Any]
    quiet_accuracy: float
    epochs: int
    seconds: float
    kills: list[int] = field(default_factory=lambda: [0] * STAGES)
    coordinators: int = 0
    warnings: int = 0  # of a disk that was full
    orphans: int = 0
    rss_mb: list[float] = field(default_factory=list)  # of all processes together, every LOOK_S

    @property
    def growth(self) -> float:
        """The most memory in the last third over that in the middle third; peaks, for a worker that is starting has little."""
        third = len(self.rss_mb) // 3
        return max(self.rss_mb[2 * third :]) / max(self.rss_mb[third : 2 * third])


def quiet(folder: Path) -> tuple[float, float]:
    """The accuracy and the rate, in samples/s, of a run in which nothing happens."""
    epochs = ["--epochs", str(QUIET_EPOCHS)]
    subprocess.run([*COMMAND, *RUN, *epochs, "--out", str(folder)], check=True, capture_output=True, timeout=120)
    report = json.loads((folder / "report.json").read_text())
    return report["test_accuracy"], report["samples_per_s"]


def faults(rng: random.Random, behind: int, rate: float, cycle_s: float) -> list[str]:
    """A plan for one cycle: lost gradients throughout, and a partition at a random moment."""
    at = behind + int(rng.uniform(0.1, 0.4) * cycle_s * rate / BATCH)
    plan = [f"drop:stage={stage},share={DROP}" for stage in range(STAGES - 1)]
    plan.append(f"partition:stage={rng.randrange(STAGES - 1)},microbatch={at},seconds={PARTITION_S}")
    return [option for fault in plan for option in ("--fault", fault)]


class Cycle:
    """One coordinator from its start to its end, and what is done to it."""

    def __init__(self, command: list[str], log: Path, outcome: Outcome) -> None:
        self._outcome, self._seen = outcome, dict[int, psutil.Process]()
        # By a pipe, for what it says must not be lost on the full disk as well.
        with log.open("ab") as out:
            self._cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out)
        assert self._cat.stdin is not None
        with self._cat.stdin as pipe:
            self._process = subprocess.Popen(command, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL)
        outcome.coordinators += 1

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def look(self) -> None:
        """Notes the memory of all processes."""
        family = [psutil.Process(self._process.pid)] if not self.is_over else []
        for parent in tuple(family):
            family += parent.children()
        self._seen |= {process.pid: process for process in family}
        self._outcome.rss_mb.append(sum(_rss_mb(process) for process in family))

    def kill_worker(self, stage: int) -> bool:
        """Kills that stage's worker; False when it has none at the moment."""
        for worker in psutil.Process(self._process.pid).children():
            if f"stage {stage} of" in _said(worker):
                worker.kill()
                self._outcome.kills[stage] += 1
                return True
        return False

    def fill_disk(self, is_full: bool) -> None:
        """The kernel refuses the coordinator to write another byte to any file, or no longer does."""
        hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self, timeout_s: float) -> None:
        """Waits until no process is left that belonged to it; counts those that stay."""
        self._process.wait(timeout_s)
        self._cat.wait(timeout_s)
        _, alive = psutil.wait_procs(list(self._seen.values()), timeout=5)
        self._outcome.orphans += len(alive)


def _rss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


def _said(worker: psutil.Process) -> str:
    try:
        return Path(f"/proc/{worker.pid}/fd/1").readlink().read_text()
    except OSError:  # it has just gone
        return ""


def moments(rng: random.Random, cycle: Cycle, cycle_s: float) -> list[tuple[float, Callable[[], object]]]:
    """What is done in a cycle, and when, in seconds since its begin."""
    planned: list[tuple[float, Callable[[], object]]] = [
        (rng.uniform(0.2, 0.9) * cycle_s, partial(cycle.kill_worker, stage)) for stage in range(STAGES)
    ]
    full_at = rng.uniform(0.2, 0.6) * cycle_s
    planned += [(full_at, partial(cycle.fill_disk, True)), (full_at + FULL_S, partial(cycle.fill_disk, False))]
    return sorted(planned, key=lambda moment: moment[0])


def suffer(rng: random.Random, cycle: Cycle, cycle_s: float) -> None:
    """Does all that is planned for a cycle; a worker that is not there yet is waited for."""
    begun, planned = time.monotonic(), moments(rng, cycle, cycle_s)
    while planned and not cycle.is_over:
        cycle.look()
        if time.monotonic() - begun >= planned[0][0] and planned[0][1]() is not False:
            planned.pop(0)
        time.sleep(LOOK_S)


def checkpoints(folder: Path) -> Iterator[int]:
    """The microbatches after which there are whole checkpoints."""
    return (int(path.parent.name) for path in (folder / "checkpoints").glob("*/manifest.json"))


def chaos(folder: Path, cycles: int, cycle_s: float, seed: int) -> Outcome:
    """Trains for so many cycles, and a little longer in peace. Raises RuntimeError when a coordinator fails by itself."""
    rng, begun, run, log = random.Random(seed), time.monotonic(), folder / "run", folder / "log.txt"
    accuracy, rate = quiet(folder / "quiet")
    endless = max(int(4 * cycles * cycle_s * rate / SAMPLES), 4 * QUIET_EPOCHS)
    outcome = Outcome({}, {}, accuracy, endless, 0.0)
    settings = [option for setting in SETTINGS for option in ("--set", setting)]
    for number in range(cycles + 1):
        behind = max(checkpoints(run), default=-1) if number else -1
        where = ["--resume", str(run)] if number else [*RUN, *settings, "--epochs", str(endless), "--out", str(run)]
        if number == cycles:  # it is to come to its end soon
            outcome.epochs = (behind + 1) * BATCH // SAMPLES + QUIET_EPOCHS
            where += ["--epochs", str(outcome.epochs)]
        cycle = Cycle([*COMMAND, *where, *faults(rng, behind, rate, cycle_s)], log, outcome)
        if number < cycles:
            suffer(rng, cycle, cycle_s)
        while number == cycles and not cycle.is_over:  # the last is left alone
            cycle.look()
            time.sleep(LOOK_S)
        if not cycle.is_over:
            cycle.kill()
        cycle.end(10)
        if (run / "report.json").exists():
            break
        if number == cycles:
            raise RuntimeError(f"the run did not end: {log.read_text()[-2000:]}")
    outcome.report = json.loads((run / "report.json").read_text())
    outcome.account = json.loads((run / "account.json").read_text())
    outcome.warnings = log.read_text().count("warning: ")
    outcome.seconds = time.monotonic() - begun
    return outcome


def tell(outcome: Outcome) -> None:
    """Prints what the run came to."""
    report, workers = outcome.report, outcome.report["workers_detail"]
    fed = outcome.epochs * SAMPLES
    print(f"{outcome.seconds:,.0f} s, {outcome.coordinators} coordinators, {report['restarts']} workers replaced")
    print(f"killed per stage {outcome.kills}, {outcome.warnings} warnings of a full disk, {outcome.orphans} orphans")
    print(f"test accuracy {report['test_accuracy']:.2%}, of a quiet run {outcome.quiet_accuracy:.2%}")
    print(f"most memory in the last third over the middle third {outcome.growth:.3f}, at most {max(outcome.rss_mb):,.0f} MB")
    for worker in workers:
        known = worker["samples"] + worker["samples_missed"] == fed
        lost = ", ".join(f"{worker[name]:,} {name}" for name in ("evicted", "unmatched_gradients"))
        share = worker["samples_missed"] / fed
        print(f"stage {worker['stage']}: {fed:,} samples fed, {share:.2%} missed, {'all' if known else 'NOT all'} known; {lost}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cycles = max(round(options.minutes), 1)
    folder = Path(tempfile.mkdtemp(prefix="decoupled-chaos-"))
    try:
        tell(chaos(folder, cycles, options.minutes * 60 / cycles, options.seed))
    except RuntimeError as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    main()
