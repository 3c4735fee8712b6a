"""Runs by hand with keys, as on several hosts: who takes part, who is kept out, and what both are told."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.commands import ENDLESS, SMALL, decoupled, free_address, in_process, is_one_sentence, read_until, started
from tests.tap import Tap


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    done = in_process("keys", "make", "keys", "--workers", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "keys"


def worker(number: int, address: str) -> tuple[str, ...]:
    return "worker", "--join", address, "--keys", f"keys/worker-{number}"


def first_complaint(*arguments: str, cwd: Path) -> str:
    """The first line that a command writes to stderr; after it the command is ended if it still tries."""
    process = started(*arguments, cwd=cwd)
    assert process.stderr is not None
    line = process.stderr.readline()
    process.kill()
    process.communicate()
    return line


def test_making_keys_says_what_belongs_where_and_never_overwrites(keys: Path, tmp_path: Path) -> None:
    made = in_process("keys", "make", "others", "--workers", "2", cwd=tmp_path)
    again = in_process("keys", "make", "others", cwd=tmp_path)

    assert made.stdout.splitlines() == [
        "others/coordinator stays with the coordinator: decoupled coordinator --keys others/coordinator",
        "others/worker-0 to others/worker-1: copy one to each host (scp -rp): decoupled worker --keys worker-0",
    ]
    assert again.returncode == 2
    assert is_one_sentence(again.stderr)
    assert "others already holds something" in again.stderr


def test_a_run_with_keys_trains_to_its_end_and_the_wire_says_nothing(keys: Path, tmp_path: Path) -> None:
    """Workers reach their coordinator through a tap; the trained weights pass there as well."""
    address = free_address()
    main = started("coordinator", "--bind", address, "--keys", "keys/coordinator", *SMALL, "--out", "run", cwd=tmp_path)
    read_until(main, "0 of 4 workers have joined")
    tap = Tap(address)
    workers = [started(*worker(number, tap.address), cwd=tmp_path) for number in range(4)]
    while main.poll() is None:
        tap.poll(0.01)
    tap.close()
    out, said = main.communicate(timeout=10)

    assert main.returncode == 0, said
    assert "test accuracy" in out
    assert said == ""
    assert json.loads((tmp_path / "run" / "report.json").read_text())["workers"] == 4
    assert len(tap.heard) > (tmp_path / "run" / "model.safetensors").stat().st_size
    assert not [word for word in (b"join", b"assign", b"result", b"architecture") if word in tap.heard]
    for process in workers:
        _, said = process.communicate(timeout=10)
        assert (process.returncode, said) == (0, "")


@pytest.mark.slow
def test_strangers_are_turned_away_with_a_sentence_and_the_run_beside_them_goes_on(keys: Path, tmp_path: Path) -> None:
    address = free_address()
    decoupled("keys", "make", "others", "--workers", "1", cwd=tmp_path)
    shutil.copytree(tmp_path / "others" / "worker-0", tmp_path / "unknown")
    shutil.copy(keys / "coordinator" / "coordinator.key", tmp_path / "unknown")  # it knows the coordinator, but not the reverse
    main = started("coordinator", "--bind", address, "--keys", "keys/coordinator", *ENDLESS, "--out", "run", cwd=tmp_path)
    workers = [started(*worker(number, address), cwd=tmp_path) for number in range(4)]
    read_until(main, "loss")

    unknown = decoupled("worker", "--join", address, "--keys", "unknown", cwd=tmp_path)
    plain = first_complaint("worker", "--join", address, cwd=tmp_path)
    deceived = first_complaint("worker", "--join", address, "--keys", "others/worker-0", cwd=tmp_path)
    read_until(main, "loss")
    main.send_signal(signal.SIGINT)
    _, said = main.communicate(timeout=10)

    assert unknown.returncode == 1
    assert is_one_sentence(unknown.stderr), unknown.stderr
    assert f"{address} refused this process, because it does not know its public key" in unknown.stderr
    assert "keys" in plain
    assert "another key than is expected" in deceived
    assert main.returncode == 130
    complaints = said.splitlines()[:-1]
    assert complaints
    assert all(line.startswith("refused ") for line in complaints)
    for process in workers:
        process.communicate(timeout=10)


@pytest.mark.slow
def test_a_worker_that_was_killed_joins_again_with_the_same_key_and_two_may_share_one(keys: Path, tmp_path: Path) -> None:
    address = free_address()
    command = ["coordinator", "--bind", address, "--keys", "keys/coordinator", *SMALL, "--workers", "2", "--out", "run"]
    main = started(*command, cwd=tmp_path)
    first = started(*worker(0, address), cwd=tmp_path)
    read_until(main, "1 of 2 workers have joined")
    first.kill()
    first.communicate()
    read_until(main, "0 of 2 workers have joined")

    workers = [started(*worker(0, address), cwd=tmp_path) for _ in range(2)]  # of one host, with one key
    _, said = main.communicate(timeout=60)

    assert main.returncode == 0, said
    for process in workers:
        process.communicate(timeout=10)
        assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["coordinator"], ["worker", "--join", "tcp://127.0.0.1:1"]])
def test_a_folder_that_holds_no_keys_is_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    done = in_process(*arguments, "--keys", "nowhere", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "nowhere is not" in done.stderr


def test_a_secret_that_others_can_read_is_refused(keys: Path, tmp_path: Path) -> None:
    (keys / "worker-0" / "worker-0.key_secret").chmod(0o644)

    done = in_process(*worker(0, "tcp://127.0.0.1:1"), cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "chmod 600" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_open_port_without_keys_warns_once(tmp_path: Path) -> None:
    port = free_address().rpartition(":")[2]
    main = started("coordinator", "--bind", f"tcp://0.0.0.0:{port}", "--insecure", *ENDLESS, "--out", "run", cwd=tmp_path)
    read_until(main, "0 of 4 workers have joined")
    main.send_signal(signal.SIGINT)
    _, said = main.communicate(timeout=10)

    warnings = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "neither encrypted nor authenticated" in warnings[0]
