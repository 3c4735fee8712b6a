"""All commands, in the order of --help."""

from decoupled.cli import plan, train, doctor, watch, use, measure, simulate  # isort: skip
from decoupled.cli.app import app, run

__all__ = ["app", "doctor", "measure", "plan", "run", "simulate", "train", "use", "watch"]
