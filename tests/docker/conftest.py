"""Tests of containers, with the image that `scripts/test --all` builds; skipped where no Docker engine answers."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.docker.compose import Demo


@pytest.fixture(autouse=True, scope="session")
def engine() -> None:
    try:
        subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no Docker engine answers")


@pytest.fixture
def demo() -> Iterator[Callable[..., Demo]]:
    """Makes a demo, of which nothing is left at the end."""
    made: list[Demo] = []

    def make(**settings: str) -> Demo:
        made.append(Demo(f"decoupled-test-{os.getpid()}-{len(made)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.compose("down", "--volumes", "--timeout", "5")
        for kind in ("container", "network", "volume"):
            assert one.docker(kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={one.name}") == ""
