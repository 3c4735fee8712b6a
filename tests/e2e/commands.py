"""Running the command line as a user would, in processes of its own."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
from typer.testing import CliRunner

from decoupled.cli.commands import app

DECOUPLED = [sys.executable, "-m", "decoupled"]
SMALL = ["--hidden", "32,32,32", "--epochs", "3"]  # four workers, done in a second
ENDLESS = ["--hidden", "32,32,32", "--epochs", "100000"]


def decoupled(*arguments: str, cwd: Path, seconds: float = 60.0, where: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; `where` is a command that runs it somewhere else, such as in a network namespace."""
    return subprocess.run(
        [*where, *DECOUPLED, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=seconds, check=False
    )


def in_process(*arguments: str, cwd: Path, columns: int = 120) -> subprocess.CompletedProcess[str]:
    """The same within this process, which need not import everything again."""
    with contextlib.chdir(cwd):
        ran = CliRunner().invoke(app, arguments, env=environment() | {"COLUMNS": str(columns)})
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return subprocess.CompletedProcess(arguments, ran.exit_code, ran.stdout, ran.stderr)


def started(*arguments: str, cwd: Path, where: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Starts a command; its output can be read as it comes."""
    return subprocess.Popen(
        [*where, *DECOUPLED, *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The worker processes that a training command has started."""
    return [child for child in psutil.Process(process.pid).children() if "worker" in child.cmdline()]


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """The line of output that has `text` in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"the command ended without saying {text!r}: {process.communicate()[1]}")


def is_one_sentence(text: str, starts: str = "error: ") -> bool:
    """One line for a person, and no traceback."""
    return text.startswith(starts) and text.count("\n") == 1 and "Traceback" not in text


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether all of these processes have ended."""
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def free_address() -> str:
    """One of loopback where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
