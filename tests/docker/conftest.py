"""Tests of containers, with the image that `scripts/test --all` builds; skipped where no Docker engine answers."""

import functools
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.docker.compose import ROOT, Demo

NUMBERS = itertools.count()  # of demos, so that what is left of one is not in the way of the next


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
        made.append(Demo(f"decoupled-test-{os.getpid()}-{next(NUMBERS)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.take_down()


@pytest.fixture(scope="session")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The images with PyTorch, which the build gets from this host as its pip finds it."""
    pytest.importorskip("torch")
    wheels = tmp_path_factory.mktemp("wheels")
    download = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(wheels),
        f"torch=={version('torch')}",
    ]
    if subprocess.run(download, check=False).returncode:
        pytest.skip("pip finds no PyTorch for the images")
    with served(wheels) as address:
        found = f"TORCH=torch=={version('torch')} --find-links {address}"
        for target in ("gpt", "own"):
            build = ["docker", "build", "--quiet", "--network", "host", "--build-arg", found]
            subprocess.run([*build, "--target", target, "--tag", f"decoupled:{target}", "."], cwd=ROOT, check=True)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's files by HTTP, for this host alone."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
