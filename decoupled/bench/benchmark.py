"""The benchmark: every side under every condition, one after the other, in several rounds."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from decoupled import api
from decoupled.bench import floor, messages, peers, rates, sides, trial
from decoupled.bench.choice import Choice
from decoupled.bench.conditions import AS_IS, Condition
from decoupled.bench.cut import Cut
from decoupled.bench.in_flight import InFlight
from decoupled.bench.plan import Plan
from decoupled.bench.prediction import FREE, Messages
from decoupled.bench.sides import under
from decoupled.bench.trial import Outcome, Spread
from decoupled.errors import RunFailed, UsageError
from decoupled.nn.targets import REGRESSION
from decoupled.resources import cores
from decoupled.runtime.resolve import ResolvedRun, work_of
from decoupled.runtime.versions import versions


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One side under one condition."""

    side: str
    condition: Condition
    resolved: ResolvedRun
    settings: peers.Settings | None = None  # of a peer
    outcomes: list[Outcome] = field(default_factory=list)  # one for each round
    floors: list[float] = field(default_factory=list)  # samples/s, one for each round; none where it is not known
    messages: Messages = FREE  # what they cost, where that was measured

    @property
    def name(self) -> str:
        return f"{self.side} {self.condition.name}"

    @property
    def words(self) -> str:
        """The same for tables."""
        return f"{self.side}, {self.condition.words}" if self.condition.axis else self.side


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """What was measured."""

    plan: Plan
    cases: tuple[Case, ...]
    choices: tuple[Choice, ...]  # of the sides that have several settings
    rates: tuple[Choice, ...]  # the choice of each side's learning rate, where there was one
    notes: tuple[str, ...]  # what a reader of the figures must know
    machine: dict[str, Any]  # where it was measured, and how busy that was before

    def case(self, side: str, condition: Condition) -> Case | None:
        """The side under that condition; a side with only one case gives that one, whatever its condition."""
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
    about = {"processor": model, "cores": cores(), "system": platform.platform()}
    return about | {"load_before": round(os.getloadavg()[0], 2)} | versions()


def rate(case: Case) -> Spread:
    """Steady samples/s."""
    return Spread.of([outcome.samples_per_s for outcome in case.outcomes])


def measure(plan: Plan, folder: Path, on_step: Callable[[str, int, int], None]) -> Benchmark:
    """Carries out the plan, with each trial's run folder below `folder`.

    `on_step` is called before each try and trial with what begins, how many trials are done, and of how many. The order of
    the sides is reversed from one round to the next, so that none always comes first. Each round has its own seed, the same
    for all sides. Raises UsageError for what the caller can correct and RunFailed when a trial failed.
    """
    cut, about = Cut(api.load_data(plan.run)), machine()
    if len(trial.update_sizes(cut.resolve(under("lockstep", plan.run)))) <= plan.warm_up:
        raise UsageError(f"The run makes no more updates than the {plan.warm_up} that warm it up. Give more --epochs.")
    if plan.target is not None and cut.dataset.targets.task == REGRESSION:
        raise UsageError("Values are not right or wrong, so there is no accuracy to reach. Leave --target-accuracy out.")
    for condition in plan.conditions:  # what does not fit is refused before anything is tried
        for name in plan.schedules:
            if condition.admits(name, plan.run):
                condition.applied(under(name, plan.run))
    cases, settings, learning, notes = _prepare(plan, cut, lambda what: on_step(what, 0, 1))
    cases = _with_messages(cases, cut, lambda what: on_step(what, 0, 1))
    total = plan.repeat * len(cases)
    for number in range(plan.repeat):
        for i, case in enumerate(cases if number % 2 == 0 else cases[::-1]):
            on_step(f"round {number + 1} of {plan.repeat}: {case.name}", number * len(cases) + i, total)
            case.outcomes.append(_perform(case, _seeded(case.resolved, number), folder / _folder_name(case, number), plan))
            if floor.is_known(case.resolved):
                case.floors.append(floor.samples_per_s(case.resolved, number))
    on_step("done", total, total)
    return Benchmark(plan, tuple(cases), tuple(settings), tuple(learning), (*plan.notes, *notes), about)


def _with_messages(cases: list[Case], cut: Cut, on_try: Callable[[str], None]) -> list[Case]:
    """The cases with what their messages cost, for each number of emulated devices."""
    known: dict[int, Messages] = {1: FREE}
    for case in cases:
        workers = len(case.resolved.stages)
        if workers not in known and case.resolved.run.emulation.device_ms is not None:
            on_try(f"trying messages between {workers} workers")
            known[workers] = messages.measured(case.resolved.run, cut)
    return [replace(case, messages=known.get(len(case.resolved.stages), FREE)) for case in cases]


def _seeded(resolved: ResolvedRun, number: int) -> ResolvedRun:
    """The resolved run with the seed of that round."""
    return replace(resolved, run=resolved.run.model_copy(update={"seed": resolved.run.seed + number}))


def _folder_name(case: Case, number: int) -> str:
    return f"{case.name.replace(' ', '-')}-{number + 1}"


def _perform(case: Case, resolved: ResolvedRun, folder: Path, plan: Plan) -> Outcome:
    if case.settings is not None:
        return peers.train(case.settings, resolved, plan.warm_up, plan.target, plan.is_by_clock)
    return trial.train(resolved, folder, plan.warm_up, plan.target, plan.is_by_clock)


def _prepare(plan: Plan, cut: Cut, on_try: Callable[[str], None]) -> tuple[list[Case], list[Choice], list[Choice], list[str]]:
    """The cases, each at its side's best settings and rate, how those were chosen, and what a reader must know of that."""
    cases, settings_of, rates_of, failed = list[Case](), list[Choice](), list[Choice](), list[str]()
    has_rates, in_flight = bool(plan.rates) and cut.can_hold_out, InFlight(plan, cut, on_try)
    for name in plan.schedules:
        run, choice = sides.best(name, plan, cut, on_try)
        settings_of += [choice] if choice else []
        if has_rates:
            run, choice = rates.of_side(name, run, plan, cut, on_try)
            rates_of.append(choice)
        for condition in [condition for condition in plan.conditions if condition.admits(name, run)] or [AS_IS]:
            words = f"{name}, {condition.words}" if condition.axis else name
            cases.append(Case(name, condition, cut.resolve(in_flight.best(words, condition.applied(run)))))
    settings_of += in_flight.choices
    cases.sort(key=lambda case: plan.conditions.index(case.condition) if case.condition in plan.conditions else -1)
    lockstep = cut.resolve(under("lockstep", plan.run))
    if plan.peers:
        lockstep = replace(lockstep, work=work_of(lockstep))  # their pipelines are cut by it as well
    for name in plan.peers:
        resolved = lockstep
        try:
            settings, choice = peers.best(name, resolved, plan.warm_up, on_try)
            settings_of.append(choice)
            if has_rates:
                resolved, choice = rates.of_peer(name, settings, resolved, plan, on_try)
                rates_of.append(choice)
        except RunFailed as error:
            failed.append(f"{name} takes no part, because it could not train this run: {error}")
        else:
            cases.append(Case(name, AS_IS, resolved, settings))
    notes = [*(choice.note for choice in settings_of), *([rates.note(rates_of)] if rates_of else []), *failed]
    if plan.rates and not has_rates:
        notes.append("All sides have the run's learning rate, because of data that come as batches none can be held out.")
    return cases, settings_of, rates_of, notes
