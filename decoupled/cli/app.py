"""The command itself, what makes a function one of its commands, and the options that several commands have."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from decoupled.cli.guard import guarded
from decoupled.errors import UsageError
from decoupled.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Trains a neural network in which each layer is a worker process of its own and no layer waits for another.",
)
keys = typer.Typer(no_args_is_help=True, help="Keys, with which links between hosts are encrypted and authenticated.")
app.add_typer(keys, name="keys")


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"decoupled {__version__}")
        raise typer.Exit


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. Of a plain KeyboardInterrupt that passed through `exec`, as imports do, Python dies at its end, although caught."""


class Terminated(BaseException):
    """SIGTERM came. It unwinds the stack as Ctrl-C does, so that everything is put away."""


def run() -> None:
    """Runs the command that was given, and puts everything away when it is ended from outside."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise Interrupted

    def terminate(number: int, frame: object) -> NoReturn:
        raise Terminated

    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as it is where a shell has said so
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGHUP, terminate)  # the terminal was closed
    try:
        app()
    except Terminated:
        print("Terminated; no process is left.", file=sys.stderr)
        sys.exit(143)


def command(function: Callable[..., None], group: typer.Typer = app) -> Callable[..., None]:
    """Makes a command of a function, named as it is."""
    ends_with_a_sentence = guarded(function)
    group.command(function.__name__.rstrip("_"))(ends_with_a_sentence)
    return ends_with_a_sentence


Out = Annotated[Path | None, typer.Option(help="New folder for the run (default: one in runs/).")]
Resume = Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with the interrupted run in this folder.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")]


def can_be_written(path: Path | None) -> None:
    """Refuses a file that cannot be written before the work, not after it."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"{path} cannot be written: it is no file in a folder that exists.")


def write_json(path: Path, value: object) -> None:
    try:
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
