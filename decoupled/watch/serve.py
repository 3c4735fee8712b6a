"""Serving the page: one server for one run, beside the process that trains or alone."""

import json
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import uvicorn

from decoupled.config import Fault
from decoupled.errors import UsageError
from decoupled.transport.address import is_loopback
from decoupled.watch.follow import Follower
from decoupled.watch.server import Order, application

ADDRESS = "127.0.0.1:8080"
LINGER_S = 0.5  # so that browsers hear of the end
PATIENCE_S = 2.0  # for the server to end


def check(address: str, allow_faults: bool, insecure: bool) -> str | None:
    """What there is to warn of before a page is served at that address.

    Raises UsageError when it is none, or one that strangers can reach without leave, or with buttons that break things.
    """
    try:
        if is_loopback(f"tcp://{address}"):
            return None
    except UsageError:
        raise UsageError(f"{address} is no address of this host for a page. Give one like {ADDRESS}.") from None
    if allow_faults:
        raise UsageError(f"Anyone who reaches {address} could kill workers. Leave --allow-faults out, or stay on loopback.")
    if not insecure:
        raise UsageError(f"Anyone who reaches {address} could watch the run. If that is meant, add --insecure.")
    return f"anyone who reaches {address} can watch the run."


def serve(folder: Path, address: str, order: Order | None, say: Callable[[str], None]) -> None:
    """Serves the run in a folder until it is interrupted; `say` hears where, as soon as browsers can connect.

    Raises UsageError when that address cannot be had.
    """
    listener = _listen(address)
    host, port = listener.getsockname()[:2]
    say(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    hosts = ["127.0.0.1", "localhost", host] if is_loopback(f"tcp://{address}") else ["*"]
    config = uvicorn.Config(
        application(Follower(folder), hosts, order),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen()
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "there is no such port"
        raise UsageError(f"The page cannot be served at {address}: {reason}. Choose another port.") from None
    return listener


class Beside:
    """A context in which a run's page is served by a child process. It ends with this one, however that ends."""

    def __init__(self, folder: Path, address: str, allow_faults: bool) -> None:
        what = [str(folder), "--address", address, *(["--allow-faults"] if allow_faults else [])]
        self._command = [sys.executable, "-m", "decoupled", "dashboard", "--owned", *what]
        self._wanted = queue.SimpleQueue[Fault]()
        self.url = ""

    def __enter__(self) -> "Beside":
        """Raises UsageError when the page cannot be served."""
        pipe = subprocess.PIPE
        with tempfile.TemporaryFile("w+") as log:
            # A group of its own, so that Ctrl-C reaches the process that trains alone.
            self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=log, text=True, process_group=0)
            assert self._process.stdout is not None
            self.url = self._process.stdout.readline().strip()
            if not self.url:
                self._process.communicate()
                log.seek(0)
                said = log.read().strip().splitlines() or ["The page cannot be served."]
                raise UsageError(said[-1].removeprefix("error: "))
        threading.Thread(target=self._listen, name="dashboard", daemon=True).start()
        return self

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._wanted.put(Fault(**json.loads(line)))

    def take_faults(self) -> list[Fault]:
        """What buttons were pressed since the last time."""
        found = []
        while not self._wanted.empty():
            found.append(self._wanted.get())
        return found

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            time.sleep(LINGER_S)
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.communicate()  # closes the pipes
