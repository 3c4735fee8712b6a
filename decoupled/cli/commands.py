"""All commands, in the order of --help."""

from decoupled.cli import plan, train, doctor, watch, use, measure  # isort: skip
from decoupled.cli.app import app, run

__all__ = ["app", "doctor", "measure", "plan", "run", "train", "use", "watch"]
