"""A coordinator and workers started one by one, in any order, as a user would in several terminals."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import until
from tests.e2e.commands import (
    ENDLESS,
    SMALL,
    decoupled,
    environment,
    free_address,
    in_process,
    is_one_sentence,
    read_until,
    started,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", ["coordinator", pytest.param("workers", marks=pytest.mark.slow)])
def test_workers_and_coordinator_may_start_in_any_order(first: str, tmp_path: Path) -> None:
    address = free_address()

    def coordinator() -> "subprocess.Popen[str]":
        return started("coordinator", "--bind", address, *SMALL, "--out", "run", cwd=tmp_path)

    if first == "coordinator":
        main = coordinator()
        read_until(main, "0 of 4 workers have joined")
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(4)]
    if first == "workers":
        for worker in workers:
            read_until(worker, "waiting for the coordinator")
        main = coordinator()
    out, said = main.communicate(timeout=60)

    assert main.returncode == 0, said
    assert "test accuracy" in out
    stages = []
    for worker in workers:
        spoken, complaint = worker.communicate(timeout=10)
        assert worker.returncode == 0, complaint
        stages += [line.split()[1] for line in spoken.splitlines() if line.startswith("stage")]
    assert sorted(stages) == ["0", "1", "2", "3"]
    assert json.loads((tmp_path / "run" / "report.json").read_text())["workers"] == 4


@pytest.mark.slow
def test_workers_that_are_kept_train_in_the_next_run_as_well(tmp_path: Path) -> None:
    address = free_address()
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(4)]

    for schedule, keep in (("dni", ["--keep-workers"]), ("lockstep", [])):
        options = ["--schedule", schedule, *SMALL, "--out", schedule, *keep]
        done = decoupled("coordinator", "--bind", address, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    for worker in workers:
        spoken, complaint = worker.communicate(timeout=10)
        assert (worker.returncode, complaint) == (0, "")
        assert spoken.count("\nstage ") == 2
    alone = decoupled("train", "--schedule", "lockstep", *SMALL, "--out", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    ours, theirs = (tmp_path / run / "model.safetensors" for run in ("lockstep", "alone"))
    assert ours.read_bytes() == theirs.read_bytes()  # nothing of the run before is left in a worker


@pytest.mark.slow
def test_side_by_side_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    address, script = free_address(), str(ROOT / "scripts" / "side-by-side")
    command = [script, "--bind", address, "--hidden", "32,32,32", "--epochs", "60", "--set", "checkpoint.every_s=0.1"]
    bin_first = {**environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(4)]
    first = subprocess.Popen(command, cwd=tmp_path, env=bin_first, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until("a checkpoint", lambda: any(tmp_path.glob("runs/*/dni/checkpoints/*/manifest.json")))
    (coordinator,) = psutil.Process(first.pid).children()
    coordinator.kill()
    assert first.wait(10) == 137
    for worker in workers:
        worker.communicate(timeout=10)

    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(4)]
    done = subprocess.run(command, cwd=tmp_path, env=bin_first, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert "resumed: after microbatch" in done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {"dni", "lockstep", "options"}
    assert "speed-up" in done.stdout
    assert [worker.wait(10) for worker in workers] == [0] * 4
    for worker in workers:
        worker.communicate()


@pytest.mark.slow
def test_a_worker_whose_stage_was_given_to_another_ends_as_one_that_failed(tmp_path: Path) -> None:
    address = free_address()
    options = ["--bind", address, *ENDLESS, "--workers", "2", "--stall-timeout", "0.1", "--out", "run"]
    main = started("coordinator", *options, cwd=tmp_path)
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(2)]
    read_until(main, "loss")

    workers[0].send_signal(signal.SIGSTOP)
    read_until(main, "lost")
    workers.append(started("worker", "--join", address, cwd=tmp_path))
    read_until(main, "rejoined")
    workers[0].send_signal(signal.SIGCONT)
    _, said = workers[0].communicate(timeout=10)

    assert workers[0].returncode == 1  # so that whoever restarts workers that fail starts another
    assert is_one_sentence(said)
    assert "dismissed this worker: no report for" in said
    main.send_signal(signal.SIGINT)
    for process in (main, *workers[1:]):
        process.communicate(timeout=10)


@pytest.mark.slow
def test_one_worker_too_many_is_refused_with_the_reason(tmp_path: Path) -> None:
    address = free_address()
    main = started("coordinator", "--bind", address, *ENDLESS, "--workers", "2", "--out", "run", cwd=tmp_path)
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(2)]
    read_until(main, "2 of 2 workers have joined")

    refused = decoupled("worker", "--join", address, cwd=tmp_path)
    main.send_signal(signal.SIGINT)

    assert refused.returncode == 1
    assert is_one_sentence(refused.stderr)
    assert "all 2 stages of the run are taken" in refused.stderr
    main.communicate(timeout=10)
    for worker in workers:
        worker.communicate(timeout=10)


@pytest.mark.slow
def test_a_worker_that_is_stopped_by_hand_is_replaced_by_the_next_to_come(tmp_path: Path) -> None:
    address = free_address()
    main = started("coordinator", "--bind", address, "--hidden", "32,32,32", "--epochs", "600", "--out", "run", cwd=tmp_path)
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(4)]
    read_until(main, "loss")

    workers[2].send_signal(signal.SIGINT)
    assert str(workers[2].pid) in read_until(main, "lost")
    workers.append(started("worker", "--join", address, cwd=tmp_path))
    read_until(main, "rejoined: generation 1")
    _, said = main.communicate(timeout=100)

    assert main.returncode == 0, said
    codes = [(worker.communicate(timeout=10), worker.returncode)[1] for worker in workers]
    assert codes == [0, 0, 130, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGKILL, "The coordinator has gone"),
        (signal.SIGINT, "the run was ended before it was over"),
        (signal.SIGTERM, "the run was ended before it was over"),
    ],
)
def test_a_coordinator_that_ends_early_ends_its_workers_as_ones_that_failed(
    number: signal.Signals, sentence: str, tmp_path: Path
) -> None:
    """So that whoever starts workers starts others, for the run can be resumed."""
    address = free_address()
    main = started("coordinator", "--bind", address, *ENDLESS, "--out", "run", cwd=tmp_path)
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(4)]
    read_until(main, "loss")

    main.send_signal(number)

    main.communicate()
    for worker in workers:
        _, said = worker.communicate(timeout=5)
        assert worker.returncode == 1
        assert is_one_sentence(said)
        assert sentence in said


def test_workers_end_when_their_coordinator_has_been_silent_for_as_long_as_its_run_allows(tmp_path: Path) -> None:
    """They are told how long when they join; by default they would wait for 30 s."""
    address = free_address()
    options = ["--workers", "2", "--set", "link.silence_s=2", "--out", "run"]
    main = started("coordinator", "--bind", address, *ENDLESS, *options, cwd=tmp_path)
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(2)]
    read_until(main, "loss")

    main.send_signal(signal.SIGSTOP)

    for worker in workers:
        _, said = worker.communicate(timeout=20)
        assert is_one_sentence(said)
        assert "The coordinator has gone" in said
    main.kill()
    main.communicate()


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = in_process("coordinator", "--bind", address, *SMALL, cwd=tmp_path)

    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert f"{address} is in use" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["coordinator", "--bind", "tcp://0.0.0.0:5555"], ["worker", "--join", "tcp://127.0.0.1:1", "--host", "10.0.0.7"]],
)
def test_other_hosts_are_let_in_only_on_request(arguments: list[str], tmp_path: Path) -> None:
    done = in_process(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "--keys" in done.stderr
    assert "add --insecure" in done.stderr


def test_scripts_launch_does_the_job(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts" / "launch"), "2", *SMALL, "--out", str(tmp_path / "run")]
    settings = {**environment(), "ADDRESS": free_address(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "report.json").read_text())["workers"] == 2
    until("the report to be whole", lambda: (tmp_path / "run" / "model.safetensors").exists())


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_worker_of_another_host_must_say_where_it_can_be_reached(host: str, tmp_path: Path) -> None:
    done = in_process("worker", "--join", "tcp://192.0.2.1:5555", "--host", host, "--insecure", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "--host" in done.stderr
