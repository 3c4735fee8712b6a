"""`decoupled doctor`: what it finds on this machine and on the way to coordinators of every kind."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decoupled.doctor import probes, status_client
from decoupled.doctor.examine import way_to
from decoupled.doctor.finding import Finding
from decoupled.folders import load_network
from decoupled.telemetry.clock import now_ns
from decoupled.transport import zeromq
from decoupled.transport.keys import make
from tests.e2e.commands import ENDLESS, decoupled, environment, free_address, in_process, is_one_sentence, read_until, started


def examined(*arguments: str, cwd: Path) -> tuple[int, dict[str, dict[str, Any]], str]:
    """The exit code, the findings by their titles, and what was printed."""
    done = in_process("doctor", *arguments, "--json", "findings.json", cwd=cwd)
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads((cwd / "findings.json").read_text())
    assert found["fails"] == (done.returncode == 1)
    return done.returncode, {finding["title"]: finding for finding in found["findings"]}, done.stdout


def tried(address: str, host: str = "127.0.0.1", keys: Path | None = None, insecure: bool = False) -> dict[str, Finding]:
    """The findings about the way to a coordinator, by their titles, without a command of its own."""
    return {finding.title: finding for finding in way_to(address, host, keys, insecure)}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no answer will come."""
    monkeypatch.setattr(status_client, "PATIENCE_S", 0.3)
    monkeypatch.setattr(probes, "CONNECT_S", 0.3)
    monkeypatch.setattr(zeromq, "LINGER_MS", 0)


@contextlib.contextmanager
def ended(*processes: "subprocess.Popen[str]") -> Iterator[None]:
    """A context after which these have ended."""
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.communicate(timeout=20)


def test_a_machine_is_examined(tmp_path: Path) -> None:
    code, found, said = examined(cwd=tmp_path)

    assert code == 0, said
    assert {"versions", "cores", "BLAS", "memory", "open files", "temp folder", "shared memory"} < found.keys()
    assert {"runs folder", "kernels", "port 5555", "port 8080", "host name"} < found.keys()
    assert "each worker is held to 1" in found["BLAS"]["seen"]
    assert "12 checks: " in said


def test_what_is_printed_fits_a_narrow_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "decoupled", "doctor"]
    narrow = environment() | {"COLUMNS": "80"}
    done = subprocess.run(command, cwd=tmp_path, env=narrow, capture_output=True, text=True, timeout=60, check=True)

    words = [line for line in done.stdout.splitlines() if "/" not in line]  # a path is not broken
    assert max(map(len, words)) <= 80
    assert not [line for line in words if line != line.rstrip()]


def test_a_machine_that_is_not_fit_is_told_what_to_do(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    limited = f"ulimit -n 128; exec {sys.executable} -m decoupled doctor --workers 200"

    done = subprocess.run(
        ["bash", "-c", limited],
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(deep), "OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    said = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert "fail open files 128 for a process" in said
    assert "fail temp folder" in said
    assert "Set TMPDIR=/tmp" in said
    assert "200 workers take turns" in said
    assert "OMP_NUM_THREADS=3 is set" in said
    assert "2 to mend" in said


@pytest.mark.slow
def test_a_coordinator_that_waits_is_found_and_goes_on_waiting(tmp_path: Path) -> None:
    address = free_address()
    main = started("coordinator", "--bind", address, *ENDLESS, "--out", "run", cwd=tmp_path)
    read_until(main, "0 of 4 workers")
    worker = started("worker", "--join", address, cwd=tmp_path)
    with ended(main, worker):
        read_until(main, "1 of 4 workers")
        code, found, said = examined("--join", address.replace("127.0.0.1", "localhost"), cwd=tmp_path)
        talk = status_client.ask(address, None, clock_ns=lambda: now_ns() - 3600 * 10**9)
        others = [started("worker", "--join", address, cwd=tmp_path) for _ in range(3)]
        with ended(*others):
            line = read_until(main, "workers have joined")

    assert code == 0, said
    assert found["address"]["seen"] == "localhost is 127.0.0.1"
    assert "waits, with 1 of 4 workers" in found["coordinator"]["seen"]
    assert found["versions there"]["state"] == "ok"
    assert found["clocks"]["state"] == "ok"
    assert found["workers"]["seen"].startswith("1 of 1 can be reached from here: stage 0 on ")
    assert line.startswith("2 of 4"), "the status clients took no stage"
    assert abs(talk.ahead_ns - 3600 * 10**9) < talk.trip_ns / 2 + 10**9, "an hour, by a clock that is behind"


@pytest.mark.slow
def test_a_run_that_trains_goes_on_undisturbed_to_the_same_weights(tmp_path: Path) -> None:
    address = free_address()
    command = ["--hidden", "16,16", "--epochs", "40", "--schedule"]
    main = started("coordinator", "--bind", address, *command, "lockstep", "--out", "run", cwd=tmp_path)
    workers = [started("worker", "--join", address, cwd=tmp_path) for _ in range(3)]
    read_until(main, "loss")
    found = tried(address)
    out, complaint = main.communicate(timeout=100)
    for worker in workers:
        worker.communicate(timeout=10)
    alone = decoupled("train", *command, "single", "--out", "alone", cwd=tmp_path)

    assert (main.returncode, alone.returncode) == (0, 0), complaint + alone.stderr
    assert "trains, with 3 of 3 workers" in found["coordinator"].seen
    assert "one more worker would be refused" in found["coordinator"].advice
    assert found["workers"].seen.startswith("3 of 3 can be reached from here: stage 0, 1, 2 on ")
    assert {finding.state for finding in found.values()} == {"ok"}
    assert "lost" not in out
    assert json.loads((tmp_path / "run" / "report.json").read_text())["incidents"] == []
    trained = [load_network(tmp_path / run).arrays for run in ("run", "alone")]
    assert all((trained[0][name] == weights).all() for name, weights in trained[1].items())


@pytest.mark.slow
def test_keys_that_fit_and_keys_that_do_not(tmp_path: Path) -> None:
    make(tmp_path / "keys", 1)
    make(tmp_path / "others", 1)
    shutil.copytree(tmp_path / "others" / "worker-0", tmp_path / "unknown")
    shutil.copy(tmp_path / "keys" / "coordinator" / "coordinator.key", tmp_path / "unknown")
    address = free_address()
    main = started("coordinator", "--bind", address, "--keys", "keys/coordinator", *ENDLESS, "--out", "run", cwd=tmp_path)
    read_until(main, "0 of 4 workers")
    worker = started("worker", "--join", address, "--keys", "keys/worker-0", cwd=tmp_path)
    with ended(main, worker):
        read_until(main, "1 of 4 workers")
        known = tried(address, keys=tmp_path / "keys" / "worker-0")
        folders = (tmp_path / "unknown", tmp_path / "others" / "worker-0", None)
        refused, deceived, plain = (tried(address, keys=folder)["coordinator"] for folder in folders)
        code, nowhere, _ = examined("--join", address, "--keys", "nowhere", cwd=tmp_path)

    assert {finding.state for finding in known.values()} == {"ok"}
    assert known["workers"].seen.startswith("1 of 1 can be reached from here")
    assert [finding.state for finding in (refused, deceived, plain)] == ["fail"] * 3
    assert "does not know its public key" in refused.seen
    assert "folder that the coordinator has as --keys" in refused.advice
    assert "another key than is expected" in deceived.seen
    assert "Copy this worker's folder of keys anew" in deceived.advice
    assert "keys" in plain.seen
    assert code == 1
    assert "nowhere is not a worker's folder of keys" in nowhere["keys"]["seen"]
    assert "coordinator" not in nowhere


OLDER = """
import sys, types
sys.modules["decoupled.version"] = version = types.ModuleType("decoupled.version")
version.__version__ = "0.0.9"
from decoupled.cli import main
main()
"""


def test_a_coordinator_of_another_version_is_told_of(tmp_path: Path) -> None:
    address = free_address()
    command = [sys.executable, "-c", OLDER, "coordinator", "--bind", address, *ENDLESS, "--out", "run"]
    main = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with ended(main):
        read_until(main, "0 of 4 workers")
        found = tried(address)

    assert found["versions there"].state == "fail"
    assert found["versions there"].seen == "the coordinator has decoupled 0.0.9"
    assert "Install the same decoupled" in found["versions there"].advice
    assert found["coordinator"].state == "ok"


@contextlib.contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """The address of a server that says that to everyone, or nothing, and is no coordinator."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as calls:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    call = calls.enter_context(listener.accept()[0])
                    if reply:
                        with contextlib.suppress(OSError), call:
                            call.recv(1000)
                            call.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"])
def test_what_is_no_coordinator_is_told_of(reply: bytes) -> None:
    with answering(reply) as address:
        found = tried(address)

    assert found["coordinator"].state == "fail"
    assert "does not speak as a process of decoupled does" in found["coordinator"].seen


@pytest.mark.usefixtures("impatient")
def test_where_nothing_listens_and_where_nobody_is(tmp_path: Path) -> None:
    code, nothing, _ = examined("--join", free_address(), cwd=tmp_path)
    nobody, file = tried("tcp://nobody.invalid:5555"), tried(f"ipc://{tmp_path}/coordinator")

    assert code == 1
    assert "nothing listens there" in nothing["coordinator"]["seen"]
    assert nobody["address"].seen == "there is no host nobody.invalid"
    assert "coordinator" not in nobody
    assert "nothing listens there" in file["coordinator"].seen


@pytest.mark.usefixtures("impatient")
def test_what_answers_no_status_client_is_told_from_a_coordinator() -> None:
    """Such as a worker, or a coordinator of a version that knows no status clients."""
    with contextlib.closing(zeromq.ZeroMQ()) as inbox:
        found = tried(inbox.bind("tcp://127.0.0.1:*"))

    assert "takes the connection, but does not answer" in found["coordinator"].seen


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("host", "insecure", "said"),
    [
        ("203.0.113.9", True, "Cannot listen on tcp://203.0.113.9"),
        ("0.0.0.0", False, "is no address that others can reach"),
        ("nobody.invalid", False, "there is no host 'nobody.invalid'"),
        ("203.0.113.9", False, "add --insecure"),
    ],
)
def test_a_host_where_no_worker_could_listen_is_told_of(host: str, insecure: bool, said: str) -> None:
    found = tried(free_address(), host, insecure=insecure)

    assert found["inbox"].state == "fail"
    assert said in found["inbox"].seen
    assert "--host 127.0.0.1" in found["inbox"].advice


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1:*", "tcp://:5555", "ipc://"])
def test_an_address_that_is_none_is_one_sentence(address: str, tmp_path: Path) -> None:
    done = in_process("doctor", "--join", address, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert is_one_sentence(done.stderr)
