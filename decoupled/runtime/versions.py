"""Versions: what a process is made of, and what another one says that it is."""

import platform
from functools import cache

import numpy as np
import zmq
from threadpoolctl import threadpool_info

from decoupled.version import __version__

TOLD_MAX, TEXT_MAX = 8, 40  # versions, and letters of each, that are kept of what another process says


@cache
def versions() -> dict[str, str]:
    """What made the figures: the versions of all that they depend on."""
    libraries = sorted(threadpool_info(), key=lambda info: "numpy" not in info["filepath"])  # scipy may bring one of its own
    blas = next((f"{one['internal_api']} {one['version']}" for one in libraries if one["user_api"] == "blas"), "unknown")
    return {
        "decoupled": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyzmq": zmq.pyzmq_version(),
        "libzmq": zmq.zmq_version(),
        "blas": blas,
    }


def as_told(said: object) -> dict[str, str]:
    """The versions that another process, which may be a stranger, says it has: a few short texts."""
    items = list(said.items())[:TOLD_MAX] if isinstance(said, dict) else []
    return {name[:TEXT_MAX]: text[:TEXT_MAX] for name, text in items if isinstance(name, str) and isinstance(text, str)}
