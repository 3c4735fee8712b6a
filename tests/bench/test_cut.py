"""One cut for all sides of a benchmark, also where it is measured."""

from itertools import count

import pytest

from decoupled.bench.conditions import Condition
from decoupled.bench.cut import Cut
from decoupled.bench.sides import under
from decoupled.config import Run
from decoupled.nn.partition import Work
from tests.datasets import blobs
from tests.runtime.test_resolve import toy


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> "count[int]":
    """How many times layers were measured; each time another one is slow."""
    times = count()

    def measure(*_: object) -> Work:
        slow = next(times) % 6
        return Work("ms", tuple(9.0 if layer == slow else 1.0 for layer in range(6)), (0.0,) * 6)

    monkeypatch.setattr("decoupled.runtime.resolve.measure", measure)
    return times


def test_a_measured_cut_is_that_of_all_schedules_and_conditions(measured: "count[int]") -> None:
    first = toy(workers=2)
    run = first.run.model_copy(update={"stages": None})
    cut = Cut(first.dataset)
    conditions = [Condition("latency", 0), Condition("latency", 20), Condition("workers", 3)]  # of two workers, but for the last

    found = {
        (name, condition.name): cut.resolve(condition.applied(under(name, run))).stages
        for name in ("lockstep", "gpipe", "1f1b", "dni")
        for condition in conditions
    }

    assert {len(stages) for stages in found.values()} == {2, 3}
    assert len(set(found.values())) == 2, "one for each number of workers"
    assert next(measured) == 3, "measured for the run above, and once for each"


def test_single_has_one_stage_and_a_counted_cut_needs_no_memory() -> None:
    cut = Cut(blobs())

    assert cut.resolve(Run(schedule="single", hidden=(8, 8))).stages == ((0, 1, 2),)
    assert cut.resolve(Run(hidden=(8, 8), workers=2)).run.stages is None
