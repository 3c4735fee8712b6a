"""A side of the comparison: the run under its schedule, at its best settings."""

from collections.abc import Callable
from functools import partial
from typing import Any

from decoupled.bench.choice import Choice, choose
from decoupled.bench.conditions import changed
from decoupled.bench.cut import Cut
from decoupled.bench.plan import Plan
from decoupled.bench.short_runs import shortened, trying
from decoupled.config import PIPELINES, Run
from decoupled.resources import cores
from decoupled.runtime.resolve import ResolvedRun
from decoupled.schedules.catalogue import TAKES, is_decoupled

MICROBATCHES = (2, 4, 8)  # tried for gpipe, 1f1b and 2bw, when the plan does not say


def under(schedule: str, run: Run, **values: Any) -> Run:
    """The run under another schedule, without what only others, or only workers, have."""
    values = {"schedule": schedule, "microbatches": None} | values
    options = {name: value for name, value in run.args.schedule.items() if name in TAKES.get(schedule, ())}
    values["args"] = run.args.model_dump() | {"schedule": options}
    emulation = run.emulation.model_dump()
    if schedule == "single":
        values |= {"workers": None, "stages": None, "faults": ()}
        emulation |= {"straggler": None, "straggler_for_s": None, "straggler_every_s": None}
        emulation |= {"link_factors": (), "kill_every_s": None}
    if not is_decoupled(schedule):
        values.setdefault("faults", [fault.model_dump() for fault in run.faults if fault.kind != "drop"])
        values["dni"] = run.dni.model_dump() | {"overflow": "block"}
        values["supervision"] = run.supervision.model_dump() | {"on_failure": None}
        emulation |= {"drop": 0.0}
    return changed(run, **values, emulation=emulation)


def candidates(schedule: str, plan: Plan) -> dict[str, Run]:
    """The run under the schedule with each of the settings worth trying, by their names.

    They are numbers of BLAS threads for one process, unless it emulates a device and so computes nothing, and of
    microbatches for a pipeline.
    """
    run = plan.run
    if schedule == "single" and run.emulation.device_ms is None:
        runtime = run.runtime.model_dump()
        counts = sorted({1, cores()})
        return {f"{n} BLAS thread{'s' * (n > 1)}": under(schedule, run, runtime=runtime | {"threads": n}) for n in counts}
    if schedule in PIPELINES:
        fitting = [plan.microbatches] if plan.microbatches else [n for n in MICROBATCHES if run.batch >= 2 * n] or [1]
        return {f"{n} microbatches": under(schedule, run, microbatches=n) for n in fitting}
    return {"": under(schedule, run)}


def best(schedule: str, plan: Plan, cut: Cut, on_try: Callable[[str], None]) -> tuple[Run, Choice | None]:
    """The run under the schedule at its best settings, and how they were chosen if there was a choice.

    They are tried on the run without conditions. Raises RunFailed when it cannot be trained.
    """
    runs = candidates(schedule, plan)
    if len(runs) == 1:
        return next(iter(runs.values())), None
    choice = fastest(schedule, runs, plan, cut, on_try)
    return runs[choice.best], choice


def fastest(name: str, runs: dict[str, Run], plan: Plan, cut: Cut, on_try: Callable[[str], None]) -> Choice:
    """The choice among a side's runs by their speed. Raises RunFailed when none can be trained."""
    with trying(plan.run.runtime.threads, plan.warm_up, plan.run.code) as train:

        def rate(resolved: ResolvedRun) -> float:
            return train(resolved).samples_per_s

        tries = {text: partial(rate, shortened(cut.resolve(run), plan.warm_up)) for text, run in runs.items()}
        return choose(name, tries, on_try)
