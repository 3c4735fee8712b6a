"""Local workers: all start, and none is left whatever happens."""

from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from decoupled.errors import RunFailed
from decoupled.launch import local
from decoupled.launch.local import LocalWorkers
from decoupled.runtime.membership import WorkerInfo
from tests.conftest import until


def test_workers_that_nobody_answers_are_ended_with_their_owner() -> None:
    with LocalWorkers(threads=1) as workers:
        workers.start(workers.address, 2)
        assert all(psutil.pid_exists(pid) for pid in workers.pids)

    assert not any(psutil.pid_exists(pid) for pid in workers.pids)


def test_an_interruption_while_they_start_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = iter([["sleep", "60"]])

    def interrupted(address: str, code: Sequence[str]) -> list[str]:
        try:
            return next(commands)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(local, "worker_command", interrupted)
    workers = LocalWorkers(threads=1)

    with pytest.raises(KeyboardInterrupt), workers:
        workers.start(workers.address, 2)

    assert len(workers.pids) == 1
    assert not psutil.pid_exists(workers.pids[0])


def test_a_worker_that_cannot_be_started_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "worker_command", lambda address, code: ["/no/such/program"])

    with pytest.raises(RunFailed, match=r"could not be started: .*No such file"), LocalWorkers(threads=1) as workers:
        workers.start(workers.address, 1)


def test_a_death_is_reported_with_the_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "worker_command", lambda address, code: ["sh", "-c", "echo out of paper; exit 3"])

    with LocalWorkers(threads=1) as workers:
        workers.start(workers.address, 1)
        until("the worker to die", lambda: psutil.Process(workers.pids[0]).status() == psutil.STATUS_ZOMBIE)
        until("it to be noticed", lambda: [ended.how for ended in workers.take_ended()] == ["exit code 3; it said: out of paper"])

        assert not workers.take_ended(), "it is reported once"


def test_another_worker_can_be_started_and_one_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "worker_command", lambda address, code: ["sleep", "60"])

    with LocalWorkers(threads=1) as workers:
        workers.start(workers.address, 1)
        workers.start(workers.address, 1)
        first, second = workers.pids
        workers.kill(WorkerInfo("worker", "", "here", first))

        until("it to be noticed", lambda: [(ended.pid, ended.how) for ended in workers.take_ended()] == [(first, "signal 9")])
        assert psutil.Process(second).is_running()


def test_the_private_folder_is_gone_afterwards() -> None:
    with LocalWorkers(threads=1) as workers:
        folder = Path(workers.address.removeprefix("ipc://")).parent
        assert folder.stat().st_mode & 0o077 == 0

    assert not folder.exists()
