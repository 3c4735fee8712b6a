"""Workers on Ray, as far as no cluster is needed: what a node says that is not fit, and what is said where Ray is missing."""

import os
import platform
import sys

import pytest

from decoupled.errors import UsageError
from decoupled.launch.on_ray import RayWorkers, _worker
from decoupled.version import __version__

TOLD = ("tcp://10.0.0.1:5555", "public", "secret", ("coordinator",), ())


def test_a_node_with_another_version_says_so_before_it_joins() -> None:
    host, pid, how = _worker()().work("9.9.9", *TOLD)

    assert (host, pid) == (platform.node(), os.getpid())
    assert how == f"{host} has decoupled {__version__}, and this is 9.9.9; install the same"


def test_a_node_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decoupled.version", None)

    host, _, how = _worker()().work(__version__, *TOLD)

    assert how.startswith(f"{host} has no decoupled: ")
    assert how.endswith(f"install there what is here, decoupled-trainer {__version__}")


def test_without_ray_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_DEDUP_LOGS_SKIP_REGEX", "")
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(UsageError, match=r"pip install 'decoupled-trainer\[ray\]'"):
        RayWorkers("auto", 4, 1)
