"""Sockets for the tests of this package."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.transport.sockets import Sockets


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with TemporaryDirectory(prefix="dcp") as folder, ExitStack() as stack:  # pytest's own paths are too long for a socket
        yield Sockets(stack, Path(folder))
