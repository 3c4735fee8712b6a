"""The dashboard of a run that trains, as a child process, so that whoever watches slows nobody down."""

import queue
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import ValidationError

from decoupled.config import Fault
from decoupled.errors import UsageError

START_S = 30.0  # for the server to begin
LINGER_S = 0.5  # so that browsers hear of the end
PATIENCE_S = 2.0  # for the server to end


class DashboardProcess:
    """A context in which a run's page is served. It ends with this process, however that ends."""

    def __init__(self, folder: Path, address: str, allow_faults: bool) -> None:
        options = ["--owned", "--address", address, *(["--allow-faults"] if allow_faults else [])]
        self._command = [sys.executable, "-m", "decoupled", "dashboard", *options, "--", str(folder)]
        self._wanted = queue.SimpleQueue[Fault]()
        self.url = ""

    def __enter__(self) -> "DashboardProcess":
        """Raises UsageError when the page cannot be served."""
        pipe = subprocess.PIPE
        with tempfile.TemporaryFile("w+") as log:
            # A group of its own, so that Ctrl-C reaches the process that trains alone.
            self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=log, text=True, process_group=0)
            try:
                self.url = _first_line(self._process.stdout)
                if not self.url:
                    self._end()
                    log.seek(0)
                    said = log.read().strip().splitlines() or [f"The page was not served within {START_S:g} s."]
                    raise UsageError(said[-1].removeprefix("error: "))
            except BaseException:  # also Ctrl-C
                self._end()
                raise
        threading.Thread(target=self._listen, name="dashboard", daemon=True).start()
        return self

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._wanted.put(Fault.model_validate_json(line))
            except (ValidationError, UsageError):
                continue  # what a library had to say

    def take_faults(self) -> list[Fault]:
        """What buttons were pressed since the last time."""
        found = []
        while not self._wanted.empty():
            found.append(self._wanted.get())
        return found

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                time.sleep(LINGER_S)
            self._process.terminate()
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def _first_line(stream: IO[str] | None) -> str:
    """The first line, or nothing if none comes in time."""
    assert stream is not None
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline().strip() if selector.select(START_S) else ""
