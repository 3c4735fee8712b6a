"""Local workers: processes on this machine, which end with the context that started them."""

import contextlib
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from decoupled.errors import RunFailed
from decoupled.launch.interface import Ended, Workers
from decoupled.launch.plan import worker_command, worker_environment
from decoupled.runtime.membership import WorkerInfo

PATIENCE_S = 3.0  # for workers to end by themselves before they are killed


class LocalWorkers:
    """Workers, a Workers, that join the coordinator at a socket file in a private folder."""

    keys = None
    are_kept = False
    are_started_here = True

    def __init__(self, threads: int, code: Sequence[str] = ()) -> None:
        self._threads, self._code = threads, code
        self._processes: list[subprocess.Popen[bytes]] = []
        self._known: set[int] = set()  # numbers of those that are known to have ended

    @property
    def address(self) -> str:
        return f"ipc://{self._folder.name}/coordinator"

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def __enter__(self) -> "LocalWorkers":
        self._folder = tempfile.TemporaryDirectory(prefix="decoupled-")  # readable by this user alone
        return self

    def start(self, coordinator: str, count: int) -> None:
        for _ in range(count):
            self._start(coordinator)

    def _start(self, coordinator: str) -> None:
        try:
            with self._log(len(self._processes)).open("wb") as log:
                # A group of its own, so that Ctrl-C reaches the coordinator alone, which then ends the workers.
                process = subprocess.Popen(
                    worker_command(coordinator, self._code),
                    env=worker_environment(os.environ, self._threads),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    process_group=0,
                )
        except OSError as error:
            raise RunFailed(f"A worker process could not be started: {error}.") from None
        self._processes.append(process)

    def kill(self, worker: WorkerInfo) -> None:
        for process in self._processes:
            if process.pid == worker.pid:
                process.kill()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._wait(PATIENCE_S if error is None else PATIENCE_S / 6)
        finally:
            self.end()

    def end(self) -> None:
        """Ends all workers at once."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()  # waits, and closes the pipe that kept it alive
        self._folder.cleanup()

    @property
    def running(self) -> int:
        return sum(process.poll() is None for process in self._processes)

    def take_ended(self) -> list[Ended]:
        found = []
        for number, process in enumerate(self._processes):
            if number not in self._known and process.poll() is not None:
                self._known.add(number)
                process.communicate()  # closes the pipe that kept it alive
                how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
                said = self._last_words(number) if process.returncode > 0 else ""
                how = f"{how}; it said: {said}" if said else how
                found.append(Ended(platform.node(), process.pid, how, process.returncode > 0))
        return found

    def _wait(self, patience_s: float) -> None:
        """Gives the workers, which have been told to stop, time to do so."""
        deadline = time.monotonic() + patience_s
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))

    def _log(self, number: int) -> Path:
        return Path(self._folder.name) / f"worker-{number}.log"

    def _last_words(self, number: int) -> str:
        lines = self._log(number).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


class KeptWorkers:
    """Workers on this machine that serve one run after another, and end with this context."""

    def __init__(self, threads: int, code: Sequence[str] = ()) -> None:
        self._local = LocalWorkers(threads, code)

    def __enter__(self) -> "KeptWorkers":
        self._local.__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        self._local.end()

    def for_a_run(self) -> Workers:
        """The workers for the next run, which has as many as the one before."""
        return _KeptForRun(self._local)


@dataclass(slots=True)
class _KeptForRun:
    """Kept workers as one run uses them, a Workers: only the missing ones are started."""

    local: LocalWorkers
    is_begun: bool = False
    keys: None = None
    are_kept: bool = True
    are_started_here: bool = True

    @property
    def address(self) -> str:
        return self.local.address

    def __enter__(self) -> "_KeptForRun":
        return self

    def __exit__(self, *how: object) -> None:
        """They stay for the next run."""

    def start(self, coordinator: str, count: int) -> None:
        """The first call is for all workers of the run; any other for the replacements of lost ones."""
        missing = count if self.is_begun else max(count - self.local.running, 0)
        self.is_begun = True
        self.local.start(coordinator, missing)

    def kill(self, worker: WorkerInfo) -> None:
        self.local.kill(worker)

    def take_ended(self) -> list[Ended]:
        return self.local.take_ended()


def here(count: int, threads: int, code: Sequence[str] = ()) -> Workers:
    """Workers on this machine, started and ended by this process: a Launcher."""
    return LocalWorkers(threads, code)
