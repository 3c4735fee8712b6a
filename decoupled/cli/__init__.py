"""The command line: parse, call, exit code; nothing else. Each file has commands of a kind.

May know: everything below.
Must never know: how anything is done.
"""

from decoupled.cli import train, doctor, watch, use, measure  # isort: skip (the order of --help)
from decoupled.cli.app import main

__all__ = ["doctor", "main", "measure", "train", "use", "watch"]
