"""decoupled: trains a neural network in which each layer is a worker process and no layer waits for another.

from decoupled import Run, train
report = train(Run(data="digits", hidden=(256, 256, 256)))
print(report.test_accuracy)
answers = report.network.predict(images)
"""

from decoupled.api import resume, train
from decoupled.config import Run
from decoupled.errors import DecoupledError, Diverged, RunFailed, UsageError
from decoupled.folders import load_network, load_report
from decoupled.nn.network import Network
from decoupled.runtime.report import Report
from decoupled.telemetry.metrics import Progress
from decoupled.trained import evaluate
from decoupled.version import __version__

__all__ = [
    "DecoupledError",
    "Diverged",
    "Network",
    "Progress",
    "Report",
    "Run",
    "RunFailed",
    "UsageError",
    "__version__",
    "evaluate",
    "load_network",
    "load_report",
    "resume",
    "train",
]
