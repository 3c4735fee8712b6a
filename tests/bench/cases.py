"""Runs, plans, outcomes and cases written by hand."""

from typing import Any

from decoupled.bench.benchmark import Benchmark, Case
from decoupled.bench.choice import Choice
from decoupled.bench.conditions import AS_IS, Condition
from decoupled.bench.plan import Plan
from decoupled.bench.trial import Outcome
from decoupled.config import Run
from decoupled.data.dataset import Dataset
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.telemetry.spans import Rows
from tests.datasets import blobs
from tests.telemetry.spans import spans

SMALL: dict[str, Any] = {"hidden": (16, 12), "batch": 20, "epochs": 3}  # of blobs: 10 updates an epoch, widths 6, 16, 12 and 3
MACHINE: dict[str, Any] = {
    "processor": "Abacus",
    "cores": 2,
    "system": "Wood",
    "load_before": 0.25,
    "python": "3.11.7",
    "numpy": "2.0.0",
    "blas": "beads 1.0",
}


def drawn(dataset: Dataset | None = None, **values: Any) -> ResolvedRun:
    """A small run, resolved, with these values."""
    return resolve(Run(**SMALL | values), dataset or blobs())


def outcome(rate: float, target_s: float | None = None, **report: Any) -> Outcome:
    """A trial that came to that rate."""
    return Outcome(rate, target_s, {"test_accuracy": 0.9, "evaluations": []} | report)


def case(side: str, *outcomes: Outcome, condition: Condition = AS_IS, floors: tuple[float, ...] = (), **values: Any) -> Case:
    """A side with these outcomes, one a round."""
    schedule = {} if side.startswith("torch") else {"schedule": side}
    return Case(side, condition, drawn(**schedule | values), outcomes=list(outcomes), floors=list(floors))


def plan(**values: Any) -> Plan:
    """A plan with these values; else one round of lockstep."""
    usual: dict[str, Any] = {
        "run": Run(**SMALL),
        "schedules": ("lockstep",),
        "microbatches": None,
        "peers": (),
        "conditions": (AS_IS,),
        "repeat": 1,
        "warm_up": 2,
        "target": None,
    }
    return Plan(**usual | values)


def benchmark(*cases: Case, choices: tuple[Choice, ...] = (), notes: tuple[str, ...] = (), **values: Any) -> Benchmark:
    """What came of a plan with these values."""
    return Benchmark(plan(**values), cases, choices, (), notes, MACHINE)


def updates(*ends: int) -> Rows:
    """Updates of 2 ns each that end then."""
    return spans(*((end - 2, end) for end in ends), kind="update")
