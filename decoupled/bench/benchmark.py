"""The benchmark: every side under every condition, in turn, several times over."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from decoupled import api
from decoupled.bench import floor, peers, steady, trial
from decoupled.bench.conditions import Condition, changed
from decoupled.bench.plan import Plan
from decoupled.bench.trial import Outcome
from decoupled.config import PIPELINES, Run
from decoupled.data.dataset import Dataset
from decoupled.errors import UsageError
from decoupled.runtime.blueprint import Blueprint, draw
from decoupled.runtime.emulation import PRODUCTS
from decoupled.schedules.actions import Update
from decoupled.schedules.catalogue import Settings, make
from decoupled.schedules.simulator import Costs, Forecast, simulate
from decoupled.telemetry.spans import KINDS, Rows

MICROBATCHES = (2, 4, 8)  # tried for gpipe and 1f1b, when the plan does not say


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One side under one condition."""

    side: str
    condition: Condition
    blueprint: Blueprint
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

    def case(self, side: str, condition: Condition) -> Case | None:
        """The side under the condition, or in its absence where it takes no part under it."""
        mine = [case for case in self.cases if case.side == side]
        exact = (case for case in mine if case.condition == condition)
        return next(exact, mine[0] if mine and not is_swept(mine) else None)

    def ratio(self, case: Case, reference: str) -> Spread | None:
        """How many times as fast as the reference, round by round."""
        other = self.case(reference, case.condition)
        if other is None:
            return None
        pairs = zip(case.outcomes, other.outcomes, strict=True)
        return Spread.of([mine.samples_per_s / its.samples_per_s for mine, its in pairs])


def is_swept(cases: list[Case]) -> bool:
    """Whether these cases of one side differ in their conditions."""
    return len(cases) > 1


def rate(case: Case) -> Spread:
    """Steady samples/s."""
    return Spread.of([outcome.samples_per_s for outcome in case.outcomes])


def measure(plan: Plan, folder: Path, on_step: Callable[[str, int, int], None]) -> Benchmark:
    """Runs the plan, with each trial's run in a folder of its own below `folder`; `on_step` hears what is under way.

    The order turns round from one round to the next, so that no side always comes first, and each round has a seed of its
    own, the same for all sides. Raises UsageError for what the
    caller can mend and RunFailed when a trial ended early.
    """
    dataset = api.load_data(plan.run)
    cases, notes = _prepare(plan, dataset, folder, on_step)
    total = plan.repeat * len(cases)
    for number in range(plan.repeat):
        for i, case in enumerate(cases if number % 2 == 0 else cases[::-1]):
            on_step(f"round {number + 1} of {plan.repeat}: {case.name}", number * len(cases) + i, total)
            case.outcomes.append(_perform(case, _seeded(case.blueprint, number), folder / _folder_name(case, number), plan))
            if case.blueprint.run.emulation.device_ms is None:
                case.floors.append(floor.samples_per_s(case.blueprint, number))
    on_step("done", total, total)
    return Benchmark(plan, tuple(cases), tuple(notes))


def _seeded(blueprint: Blueprint, number: int) -> Blueprint:
    """The blueprint with the seed of that round."""
    return replace(blueprint, run=blueprint.run.model_copy(update={"seed": blueprint.run.seed + number}))


def _folder_name(case: Case, number: int) -> str:
    return f"{case.name.replace(' ', '-')}-{number + 1}"


def _perform(case: Case, blueprint: Blueprint, folder: Path, plan: Plan) -> Outcome:
    if case.settings is not None:
        return peers.train(case.settings, blueprint, plan.warm_up, plan.target)
    return trial.train(blueprint, folder, plan.warm_up, plan.target)


def _prepare(
    plan: Plan, dataset: Dataset, folder: Path, on_step: Callable[[str, int, int], None]
) -> tuple[list[Case], list[str]]:
    """The cases, each at its side's best settings."""
    cases, notes = list[Case](), list(plan.notes)
    parts = {name: plan.microbatches for name in plan.schedules if name in PIPELINES}
    for name in [name for name, given in parts.items() if given is None]:
        on_step(f"looking for the best number of microbatches for {name}", 0, 1)
        parts[name] = _best_microbatches(name, plan, dataset, folder)
        notes.append(f"{name} cuts a batch into {parts[name]} microbatches, the fastest of {MICROBATCHES}.")
    for condition, name in _sides(plan):
        run = _under(name, plan.run, parts.get(name))
        if condition.admits(name, run):
            cases.append(Case(name, condition, draw(condition.applied(run), dataset)))
    if len(trial.update_sizes(cases[0].blueprint)) <= plan.warm_up:
        raise UsageError(f"The run makes no more updates than the {plan.warm_up} that warm it up. Give more --epochs.")
    lockstep = draw(_under("lockstep", plan.run, None), dataset)
    for name in plan.peers:
        on_step(f"looking for the best settings for {name}", 0, 1)
        settings = peers.best(name, lockstep, plan.warm_up)
        if settings is None:
            notes.append(f"{name} could not train this run, so it takes no part.")
        else:
            notes.append(f"{name} runs with {settings}, the fastest of its settings.")
            cases.append(Case(name, plan.conditions[0], lockstep, settings))
    return cases, notes


def _sides(plan: Plan) -> Iterator[tuple[Condition, str]]:
    for condition in plan.conditions:
        for name in plan.schedules:
            yield condition, name


def _under(name: str, run: Run, microbatches: int | None) -> Run:
    """The run under another schedule; one process gets every core, and what only dni can do is left out elsewhere."""
    values: dict[str, Any] = {"schedule": name, "microbatches": microbatches}
    if name == "single":
        values |= {"workers": None, "stages": None, "runtime": run.runtime.model_dump() | {"threads": floor.cores()}}
    if name != "dni":
        values["dni"] = run.dni.model_dump() | {"overflow": "block"}
    return changed(run, **values)


def _best_microbatches(name: str, plan: Plan, dataset: Dataset, folder: Path) -> int:
    rates: dict[int, float] = {}
    for count in MICROBATCHES:
        if plan.run.batch >= 2 * count:
            run = plan.conditions[0].applied(changed(_under(name, plan.run, count), epochs=1))
            blueprint = draw(run, dataset)
            rates[count] = trial.train(blueprint, folder / f"probe-{name}-{count}", plan.warm_up, None).samples_per_s
    return max(rates, key=lambda count: rates[count], default=1)


def predicted(case: Case, warm_up: int) -> float | None:
    """What the simulator says of a case on emulated devices, in samples/s; None for any other."""
    run, stages = case.blueprint.run, case.blueprint.stages
    if run.emulation.device_ms is None or case.settings is not None:
        return None
    assert run.feedback_every is not None
    assert run.dni.feedback is not None
    settings = Settings(run.feedback_every, run.dni.stash_max, run.dni.feedback, run.dni.overflow)
    name = "lockstep" if run.schedule == "single" else run.schedule
    parts, sizes = run.microbatches or 1, trial.update_sizes(case.blueprint)
    product_ns = run.emulation.device_ms * 1e6 / PRODUCTS / parts
    latency_ns = run.emulation.latency_ms * 1e6
    costs = [
        Costs(product_ns * len(layers), product_ns * (2 * len(layers) - 1), product_ns, latency=latency_ns) for layers in stages
    ]
    forecast = simulate(lambda place: make(name, place, settings), len(stages), len(sizes) * parts, costs, run.link.window, parts)
    return steady.samples_per_s([_updates(forecast, stage) for stage in range(len(stages))], sizes, 1, warm_up)


def _updates(forecast: Forecast, stage: int) -> Rows:
    """The simulated stage's updates as spans."""
    ends = [round(slot.end) for slot in forecast.slots if slot.stage == stage and isinstance(slot.action, Update)]
    return np.array([(KINDS.index("update"), -1, end, end) for end in ends], np.int64)
