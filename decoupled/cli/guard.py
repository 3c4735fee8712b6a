"""The guard around every command: what a user can mend becomes a sentence on stderr and an exit code, without a traceback."""

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from decoupled.errors import DecoupledError


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """The same function, which ends a command as a user expects it."""

    @functools.wraps(function)
    def guard(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except DecoupledError as error:
            _fail(f"error: {error}", error.exit_code)
        except OSError as error:  # a full disk, a closed pipe
            _fail(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}.", 1)
        except KeyboardInterrupt as error:
            _fail(" ".join(["Interrupted; no process is left.", *error.args]), 130)

    return guard


def _fail(sentence: str, code: int) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise typer.Exit(code)
