"""Checkpoints for the tests of this package."""

import shutil
from pathlib import Path

import pytest

from tests.checkpoint.saved import saved


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    saved(folder, 10, 20)
    return folder


@pytest.fixture
def folder(two: Path, tmp_path: Path) -> Path:
    """A folder with two good checkpoints."""
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    return tmp_path
