"""A run on open ports with a stranger that floods every inbox: it ends as it would have alone, and in the same memory.

DECOUPLED_FLOOD=1000000 DECOUPLED_FLOOD_EPOCHS=1200 pytest --timeout 3600 tests/e2e/test_flood.py -s -n0
sends a million messages, beside a run that lasts so long.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import until
from tests.e2e.commands import environment, free_address, read_until, started

ROOT = Path(__file__).parents[2]
MESSAGES = int(os.environ.get("DECOUPLED_FLOOD", "20000"))
EPOCHS = os.environ.get("DECOUPLED_FLOOD_EPOCHS", "60")
WORKERS = int(os.environ.get("DECOUPLED_FLOOD_WORKERS", "2"))
MESSAGE_BYTES_MAX = 16_000_000


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run came to, the most memory that each of its processes had, and what the stranger said."""

    report: dict[str, Any]
    peaks: list[int]
    flood: dict[str, Any]


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had resident; 0 when it is over."""
    marks = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(marks[0].split()[1]) * 1024 if marks else 0


def listening(pid: int) -> str:
    """Where a process waits for others."""
    port = next(link.laddr.port for link in psutil.Process(pid).net_connections("tcp") if link.status == psutil.CONN_LISTEN)
    return f"tcp://127.0.0.1:{port}"


def run_beside(folder: Path, messages: int) -> Ran:
    folder.mkdir()
    address = free_address()
    # Slow links have the run last for as long on any machine.
    settings = (f"link.message_bytes_max={MESSAGE_BYTES_MAX}", "emulation.latency_ms=10", "hidden=[32,32,32]", f"epochs={EPOCHS}")
    given = [word for setting in (*settings, f"workers={WORKERS}") for word in ("--set", setting)]
    main = started("coordinator", "--bind", address, *given, "--out", "run", cwd=folder)
    workers = [started("worker", "--join", address, cwd=folder) for _ in range(WORKERS)]
    everyone = [process.pid for process in (main, *workers)]
    read_until(main, "loss")
    command = [sys.executable, "-m", "tests.fuzz.flood", "--frames", str(messages), *map(listening, everyone)]
    stranger = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) if messages else None
    peaks = [0] * len(everyone)

    def is_over() -> bool:
        peaks[:] = map(max, peaks, map(peak_bytes, everyone))
        return main.poll() is not None

    until("the run to end", is_over, 3600)
    assert stranger is None or stranger.poll() == 0, "the stranger was done before the run was"
    out, said = main.communicate(timeout=10)
    assert main.returncode == 0, said
    assert "test accuracy" in out
    flood = stranger.communicate(timeout=60)[0] if stranger is not None else "{}"
    for worker in workers:
        worker.communicate(timeout=10)
        assert worker.returncode == 0
    return Ran(json.loads((folder / "run" / "report.json").read_text()), peaks, json.loads(flood))


def received(report: dict[str, Any]) -> int:
    return sum(worker["bytes_received"] for worker in report["workers_detail"])


@pytest.mark.slow
def test_a_flood_of_hostile_frames_changes_neither_the_run_nor_its_memory(tmp_path: Path) -> None:
    alone, flooded = run_beside(tmp_path / "alone", 0), run_beside(tmp_path / "flooded", MESSAGES)
    taken = received(flooded.report) - received(alone.report)
    print(flooded.flood, taken, "bytes more taken by workers; peaks", alone.peaks, "alone,", flooded.peaks, "flooded")

    assert flooded.flood["messages"] >= MESSAGES
    assert flooded.report["incidents"] == []
    assert abs(flooded.report["test_accuracy"] - alone.report["test_accuracy"]) < 0.03
    for before, after in zip(alone.peaks, flooded.peaks, strict=True):
        assert after < before + MESSAGE_BYTES_MAX
