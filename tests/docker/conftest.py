"""Tests of containers run when they are asked for: `scripts/test-docker`. They build the image, which takes a while."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.docker.compose import ROOT, Demo


@pytest.fixture(scope="session")
def image() -> str:
    """The image of the demo, built from this tree; its build reaches the network as the host does."""
    build = ["docker", "build", "--quiet", "--network", "host", "--tag", "decoupled", "."]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def demo(image: str) -> Iterator[Callable[..., Demo]]:
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
