"""The benchmark: every side under every condition, in turn, several times over."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from decoupled import api
from decoupled.bench import floor, peers, trial
from decoupled.bench.conditions import AS_IS, Condition, changed
from decoupled.bench.plan import Plan
from decoupled.bench.trial import Outcome
from decoupled.config import PIPELINES, Run
from decoupled.data import batches
from decoupled.data.dataset import Dataset
from decoupled.errors import UsageError
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.runtime.versions import versions

MICROBATCHES = (2, 4, 8)  # tried for gpipe and 1f1b, when the plan does not say
THREADS = tuple(sorted({1, floor.cores()}))  # tried for single


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One side under one condition."""

    side: str
    condition: Condition
    resolved: ResolvedRun
    settings: peers.Settings | None = None  # of a peer
    outcomes: list[Outcome] = field(default_factory=list)  # one for each round
    floors: list[float] = field(default_factory=list)  # samples/s, one for each round; none on emulated devices

    @property
    def name(self) -> str:
        return f"{self.side} {self.condition.name}"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several values, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """What was measured."""

    plan: Plan
    cases: tuple[Case, ...]
    notes: tuple[str, ...]  # what a reader of the figures must know
    machine: dict[str, Any]  # where it was measured, and how busy that was before

    def case(self, side: str, condition: Condition) -> Case | None:
        """The side under the condition, or in its absence where it takes no part under it."""
        mine = [case for case in self.cases if case.side == side]
        exact = (case for case in mine if case.condition == condition)
        return next(exact, mine[0] if len(mine) == 1 else None)

    def ratio(self, case: Case, reference: str) -> Spread | None:
        """How many times as fast as the reference, round by round."""
        other = self.case(reference, case.condition)
        if other is None:
            return None
        pairs = zip(case.outcomes, other.outcomes, strict=True)
        return Spread.of([mine.samples_per_s / its.samples_per_s for mine, its in pairs])


def machine() -> dict[str, Any]:
    """The machine, how busy it is with other things now, and the versions of what the figures depend on."""
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    about = {"processor": model, "cores": floor.cores(), "system": platform.platform()}
    return about | {"load_before": round(os.getloadavg()[0], 2)} | versions()


def rate(case: Case) -> Spread:
    """Steady samples/s."""
    return Spread.of([outcome.samples_per_s for outcome in case.outcomes])


def measure(plan: Plan, folder: Path, on_step: Callable[[str, int, int], None]) -> Benchmark:
    """Runs the plan, with each trial's run in a folder of its own below `folder`; `on_step` hears what is under way.

    The order turns round from one round to the next, so that no side always comes first, and each round has a seed of its
    own, the same for all sides. Raises UsageError for what the caller can mend and RunFailed when a trial ended early.
    """
    dataset, about = api.load_data(plan.run), machine()
    if len(trial.update_sizes(resolve(_under("lockstep", plan.run), dataset))) <= plan.warm_up:
        raise UsageError(f"The run makes no more updates than the {plan.warm_up} that warm it up. Give more --epochs.")
    for condition in plan.conditions:  # what does not fit is refused before anything is tried
        for name in plan.schedules:
            if condition.admits(name, plan.run):
                condition.applied(_under(name, plan.run))
    cases, notes = _prepare(plan, dataset, folder, on_step)
    total = plan.repeat * len(cases)
    for number in range(plan.repeat):
        for i, case in enumerate(cases if number % 2 == 0 else cases[::-1]):
            on_step(f"round {number + 1} of {plan.repeat}: {case.name}", number * len(cases) + i, total)
            case.outcomes.append(_perform(case, _seeded(case.resolved, number), folder / _folder_name(case, number), plan))
            if case.resolved.run.emulation.device_ms is None:
                case.floors.append(floor.samples_per_s(case.resolved, number))
    on_step("done", total, total)
    return Benchmark(plan, tuple(cases), tuple(notes), about)


def _seeded(resolved: ResolvedRun, number: int) -> ResolvedRun:
    """The resolved run with the seed of that round."""
    return replace(resolved, run=resolved.run.model_copy(update={"seed": resolved.run.seed + number}))


def _folder_name(case: Case, number: int) -> str:
    return f"{case.name.replace(' ', '-')}-{number + 1}"


def _perform(case: Case, resolved: ResolvedRun, folder: Path, plan: Plan) -> Outcome:
    if case.settings is not None:
        return peers.train(case.settings, resolved, plan.warm_up, plan.target)
    return trial.train(resolved, folder, plan.warm_up, plan.target)


def _prepare(
    plan: Plan, dataset: Dataset, folder: Path, on_step: Callable[[str, int, int], None]
) -> tuple[list[Case], list[str]]:
    """The cases, each at its side's best settings."""
    cases, notes = list[Case](), list(plan.notes)
    for name in plan.schedules:
        run, found = _best(name, plan, dataset, folder, lambda what: on_step(what, 0, 1))
        notes += found
        conditions = [condition for condition in plan.conditions if condition.admits(name, run)]
        cases += [Case(name, condition, resolve(condition.applied(run), dataset)) for condition in conditions or [AS_IS]]
    cases.sort(key=lambda case: plan.conditions.index(case.condition) if case.condition in plan.conditions else -1)
    lockstep = resolve(_under("lockstep", plan.run), dataset)
    for name in plan.peers:
        settings = peers.best(name, lockstep, plan.warm_up, lambda what: on_step(what, 0, 1))
        if settings is None:
            notes.append(f"{name} could not train this run, so it takes no part.")
        else:
            notes.append(f"{name} runs with {settings}, the fastest of its settings.")
            cases.append(Case(name, AS_IS, lockstep, settings))
    return cases, notes


def _under(name: str, run: Run, **values: Any) -> Run:
    """The run under another schedule, without what only dni, or only workers, have."""
    values = {"schedule": name, "microbatches": None} | values
    emulation = run.emulation.model_dump()
    if name == "single":
        values |= {"workers": None, "stages": None, "faults": ()}
        emulation |= {"straggler": None}
    if name != "dni":
        values.setdefault("faults", [fault.model_dump() for fault in run.faults if fault.kind != "drop"])
        values["dni"] = run.dni.model_dump() | {"overflow": "block"}
        values["supervision"] = run.supervision.model_dump() | {"on_failure": None}
        emulation |= {"drop": 0.0}
    return changed(run, **values, emulation=emulation)


def _best(name: str, plan: Plan, dataset: Dataset, folder: Path, on_try: Callable[[str], None]) -> tuple[Run, list[str]]:
    """The run under that schedule at its best settings, and what to say of them.

    They are the number of BLAS threads for one process, and of microbatches for a pipeline; each is tried once, on the run
    without conditions, for as many epochs as some updates take.
    """
    candidates: list[tuple[str, dict[str, Any]]] = [("", {})]
    if name == "single":
        candidates = [
            (f"{n} BLAS thread{'s' * (n > 1)}", {"runtime": plan.run.runtime.model_dump() | {"threads": n}}) for n in THREADS
        ]
    elif name in PIPELINES:
        counts = [plan.microbatches] if plan.microbatches else [n for n in MICROBATCHES if plan.run.batch >= 2 * n] or [1]
        candidates = [(f"{n} microbatches", {"microbatches": n}) for n in counts]
    if len(candidates) == 1:
        return _under(name, plan.run, **candidates[0][1]), []
    updates = batches.count(len(dataset.x_train), plan.run.batch)
    short = {"epochs": min(-(-(3 * plan.warm_up) // updates), plan.run.epochs), "faults": ()}
    rates = {}
    for i, (what, values) in enumerate(candidates):
        on_try(f"trying {name} with {what}")
        resolved = resolve(_under(name, plan.run, **values | short), dataset)
        rates[what] = trial.train(resolved, folder / f"probe-{name}-{i}", plan.warm_up, None).samples_per_s
    best = max(candidates, key=lambda candidate: rates[candidate[0]])
    tried = ", ".join(f"{what} {rate:,.0f}" for what, rate in rates.items())
    return _under(name, plan.run, **best[1]), [f"{name} runs with {best[0]}, the fastest when tried (samples/s: {tried})."]
