"""The command line: parse, call, exit code. Each file has commands of one kind.

May import: every other package.
Must not know: how anything is done.
"""

import os
import signal

__all__ = ["main"]


def main() -> None:
    """The command `decoupled`. Ctrl-C ends it with a sentence from the first moment, although its imports take a second."""

    def interrupt(number: int, frame: object) -> None:
        os.write(2, b"Interrupted; no process is left.\n")
        os._exit(130)  # nothing has begun; an exception could get lost within an import

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored where a shell has said so
        signal.signal(signal.SIGINT, interrupt)
    from decoupled.cli.commands import run

    run()
