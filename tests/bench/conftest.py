"""Benchmarks without a real trial."""

import pytest

from decoupled.bench import floor, trial
from tests.bench.trials import Trials


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    made = Trials()
    monkeypatch.setattr(trial, "train", made)
    monkeypatch.setattr("decoupled.bench.benchmark.THREADS", (6,))  # without a choice, there are no probes
    monkeypatch.setattr(floor, "samples_per_s", lambda resolved, at: 1000.0 + at)
    return made
