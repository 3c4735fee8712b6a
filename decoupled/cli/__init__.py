"""The command line: parse, call, exit code. Each file has commands of one kind.

May import: every other package.
Must not know: how anything is done.
"""

from decoupled.cli import train, doctor, watch, use, measure  # isort: skip (the order of --help)
from decoupled.cli.app import main

__all__ = ["doctor", "main", "measure", "train", "use", "watch"]
