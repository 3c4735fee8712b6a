import pytest

from decoupled import api
from tests.resume.interrupted import Started


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    made = Started()
    monkeypatch.setattr(api, "run_coordinator", made.run_coordinator)
    return made
