"""However a run ends, it ends with one clear sentence and leaves no process behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from decoupled import Progress, Run, train
from tests.conftest import until
from tests.e2e.commands import ENDLESS, environment, gone, is_one_sentence, read_until, started, workers_of


@pytest.fixture
def endless(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A training command in the middle of its work."""
    process = started("train", *ENDLESS, "--out", "run", cwd=tmp_path)
    read_until(process, "loss")
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [(signal.SIGINT, 130, "Interrupted"), pytest.param(signal.SIGTERM, 143, "Terminated", marks=pytest.mark.slow)],
)
def test_ctrl_c_and_termination_end_everything_but_what_was_recorded(
    endless: "subprocess.Popen[str]", number: signal.Signals, code: int, sentence: str, tmp_path: Path
) -> None:
    workers = workers_of(endless)
    assert len(workers) == 4

    endless.send_signal(number)
    _, said = endless.communicate(timeout=10)

    assert endless.returncode == code
    assert is_one_sentence(said, sentence)
    assert gone(workers)
    assert (tmp_path / "run" / "run.toml").exists()
    assert all(json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert not (tmp_path / "run" / "report.json").exists()


INTERRUPTED_WHILE_IMPORTING = """
import os, runpy, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
runpy.run_module("decoupled", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["typer", "numpy", "decoupled.api", "decoupled.cli.measure"])
def test_ctrl_c_while_the_command_is_being_loaded_is_one_sentence(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING, module]

    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 130
    assert is_one_sentence(done.stderr, "Interrupted"), done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_when_there_is_something_to_go_on_from(tmp_path: Path) -> None:
    process = started("train", *ENDLESS, "--set", "checkpoint.every_s=0.1", "--out", "run", cwd=tmp_path)
    until("a checkpoint", lambda: any(tmp_path.glob("run/checkpoints/*/manifest.json")))

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)

    assert process.returncode == 130
    assert is_one_sentence(said, "Interrupted")
    assert "--resume run" in said


@pytest.mark.parametrize("number", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_worker_that_dies_once_too_often_ends_the_run_with_a_sentence_that_names_it(number: int, tmp_path: Path) -> None:
    process = started("train", *ENDLESS, "--set", "supervision.restarts_max=0", "--out", "run", cwd=tmp_path)
    read_until(process, "loss")
    workers = workers_of(process)

    workers[number].kill()
    _, said = process.communicate(timeout=10)

    assert process.returncode == 1
    assert is_one_sentence(said)
    assert str(workers[number].pid) in said
    assert gone(workers)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9])
def test_workers_end_when_their_parent_is_killed_while_they_start(seconds: float, tmp_path: Path) -> None:
    process = started("train", *ENDLESS, "--out", "run", cwd=tmp_path)
    until("the first worker to be there", lambda: workers_of(process))
    moment = time.monotonic() + seconds
    until("some time to pass", lambda: time.monotonic() > moment)
    workers = workers_of(process)

    process.kill()
    process.communicate()

    until("the workers to notice", lambda: gone(workers), seconds=5)


@pytest.mark.slow
def test_a_stopped_worker_does_not_keep_a_cancelled_run_alive(endless: "subprocess.Popen[str]") -> None:
    workers = workers_of(endless)
    workers[1].suspend()

    endless.send_signal(signal.SIGINT)
    endless.communicate(timeout=10)

    assert gone(workers)


def test_an_error_in_a_callback_reaches_the_caller_and_leaves_no_process() -> None:
    class OwnError(Exception):
        pass

    def complain(progress: Progress) -> None:
        raise OwnError

    with pytest.raises(OwnError):
        train(Run(hidden=(16, 16), epochs=10_000), on_progress=complain)

    assert not psutil.Process().children(recursive=True)


@pytest.mark.slow
def test_upstream_does_not_wait_for_a_stopped_worker(tmp_path: Path) -> None:
    """With the last worker stopped for 3 s the first trains on until its stash and credit are used, then all end well."""
    windows = ["--set", "link.window=64", "--set", "link.high_water_mark=8", "--set", "dni.stash_max=64"]
    process = started("train", "--hidden", "32,32,32", "--epochs", "400", *windows, "--out", "run", cwd=tmp_path)
    read_until(process, "loss")
    last = next(worker for worker in workers_of(process) if _stage(worker, tmp_path) == 3)

    def updates() -> list[int]:
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        return [worker["updates"] for worker in json.loads(lines[-1])["workers"]]

    last.suspend()
    stopped_at = time.monotonic()
    until("the first worker to train on alone", lambda: updates()[0] - updates()[3] > 100, seconds=3)
    until("two seconds to pass", lambda: time.monotonic() > stopped_at + 2)
    full = updates()
    until("the third to pass", lambda: time.monotonic() > stopped_at + 3)
    assert updates() == full, "stash and credit are used, so nobody goes on"
    last.resume()
    out, said = process.communicate(timeout=60)

    assert process.returncode == 0, said
    assert "test accuracy" in out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [detail["samples"] for detail in report["workers_detail"]] == [400 * 1437] * 4
    assert [detail["evicted"] for detail in report["workers_detail"]] == [0] * 4


def _stage(worker: psutil.Process, folder: Path) -> int:
    """Which stage a worker is, from the words it says when it is assigned."""
    log = Path(f"/proc/{worker.pid}/fd/1").readlink()
    return int(log.read_text().split("stage ")[1].split(" ")[0])
