"""What `import decoupled` offers, in one place; `decoupled/__init__.py` imports it when one of the names is asked for."""

from decoupled.api import plan, resume, train
from decoupled.config import Run
from decoupled.errors import DecoupledError, Diverged, RunFailed, UsageError
from decoupled.folders import load_network, load_report
from decoupled.nn.network import Network
from decoupled.runtime.report import Report
from decoupled.telemetry.metrics import Progress
from decoupled.trained import evaluate

__all__ = [
    "DecoupledError",
    "Diverged",
    "Network",
    "Progress",
    "Report",
    "Run",
    "RunFailed",
    "UsageError",
    "evaluate",
    "load_network",
    "load_report",
    "plan",
    "resume",
    "train",
]
