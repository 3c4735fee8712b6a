"""decoupled: trains a neural network in which each layer is a worker process and no layer waits for another.

from decoupled import Run, train
report = train(Run(data="digits", hidden=(256, 256, 256)))
print(report.test_accuracy)
answers = report.network.predict(images)
"""

from typing import TYPE_CHECKING, Any

from decoupled.version import __version__

if TYPE_CHECKING:
    from decoupled.public import (
        DecoupledError,
        Diverged,
        Network,
        Progress,
        Report,
        Run,
        RunFailed,
        UsageError,
        evaluate,
        load_network,
        load_report,
        plan,
        resume,
        train,
    )

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
    "plan",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports the rest when it is asked for: that takes a second, in which the command must already answer to Ctrl-C."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from decoupled import public

    return getattr(public, name)


def __dir__() -> list[str]:
    return __all__
