"""Benchmarks without a real trial or try."""

from pathlib import Path

import pytest

from decoupled.bench import floor, messages, rates, sides, trial
from tests.bench.trials import Trials


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the one file whose collection imports PyTorch, which takes seconds, unless its slow tests are wanted."""
    return (collection_path.name == "test_torch_peer.py" and not config.option.all) or None


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    """All that is trained; on one core, where single has no choice of threads."""
    made = Trials()
    monkeypatch.setattr(trial, "train", made)
    monkeypatch.setattr(sides, "trying", made.trying)
    monkeypatch.setattr(rates, "trying", made.trying)
    monkeypatch.setattr(messages, "trying", made.trying)
    monkeypatch.setattr(sides, "cores", lambda: 1)
    monkeypatch.setattr(floor, "samples_per_s", lambda resolved, at: 1000.0 + at)
    return made
