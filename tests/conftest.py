"""What every test is held to: it leaves no process, no thread and no open file behind."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import psutil
import pytest


def until(what: str, condition: object, seconds: float = 20.0, every_s: float = 0.01) -> None:
    """Waits for `condition()` to hold, and fails the test when it does not in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        threading.Event().wait(every_s)


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """A context that must leave no process, thread or open file behind."""
    me = psutil.Process()
    threads, files = threading.active_count(), me.num_fds()
    yield
    try:
        until("child processes to end", lambda: not me.children(recursive=True))
    finally:
        for child in me.children(recursive=True):  # so that one failure does not become many
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                child.kill()
                child.wait()
    until("threads to end", lambda: threading.active_count() <= threads)
    until("files to be closed", lambda: me.num_fds() <= files + 3)  # libraries may open a few for good at first use


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    with leaving_nothing():
        yield


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment for command lines under test: wide, without colours, and loud about warnings."""
    return {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "PYTHONWARNINGS": "error", "TERM": "dumb"}
