"""decoupled: trains a neural network in which each layer is a worker process and no layer waits for another.

from decoupled import Run, train
report = train(Run(data="digits", hidden=(256, 256, 256)))
print(report.test_accuracy)
answers = report.network.predict(images)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from decoupled.version import __version__

if TYPE_CHECKING:
    from decoupled.api import resume, train
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
    "__version__",
    "evaluate",
    "load_network",
    "load_report",
    "resume",
    "train",
]

_MODULES = {
    "api": ("resume", "train"),
    "config": ("Run",),
    "errors": ("DecoupledError", "Diverged", "RunFailed", "UsageError"),
    "folders": ("load_network", "load_report"),
    "nn.network": ("Network",),
    "runtime.report": ("Report",),
    "telemetry.metrics": ("Progress",),
    "trained": ("evaluate",),
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for; the whole takes a second, in which the command must already answer to Ctrl-C."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"decoupled.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
