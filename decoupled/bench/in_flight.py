"""How much a pipeline without a flush has in flight: as much as the links of a condition ask for."""

from collections.abc import Callable
from dataclasses import replace

from decoupled.bench import sides
from decoupled.bench.choice import Choice
from decoupled.bench.conditions import changed
from decoupled.bench.cut import Cut
from decoupled.bench.plan import Plan
from decoupled.config import EmulationOptions, Run
from decoupled.schedules.catalogue import STALE

EXTRA = (0, 8, 24)  # microbatches beyond the stages that are left


class InFlight:
    """Chooses once for each schedule and condition; kills alone make no other."""

    def __init__(self, plan: Plan, cut: Cut, on_try: Callable[[str], None]) -> None:
        self._plan, self._cut, self._on_try = plan, cut, on_try
        self._known: dict[tuple[str, EmulationOptions], Choice] = {}

    @property
    def choices(self) -> list[Choice]:
        return list(self._known.values())

    def best(self, case: str, run: Run) -> Run:
        """The run with the fewest in flight that may be the fastest: under async1f1b each further one makes gradients staler.

        There is a choice over links that are emulated as slow, if the run does not say how many it wants.
        """
        has_slow_links = run.emulation.latency_ms or run.emulation.bandwidth_mbit
        if run.schedule not in STALE or not has_slow_links or "extra" in run.args.schedule:
            return run
        runs, alike = _candidates(run), run.emulation.model_copy(update={"kill_every_s": None})
        if (run.schedule, alike) not in self._known:
            choice = sides.fastest(case, runs, self._plan, self._cut, self._on_try)
            self._known[run.schedule, alike] = replace(choice, takes_first=True)
        return runs[self._known[run.schedule, alike].best]


def _candidates(run: Run) -> dict[str, Run]:
    args = run.args.model_dump()
    return {
        f"{extra} more in flight": changed(run, args=args | {"schedule": run.args.schedule | {"extra": extra}}) for extra in EXTRA
    }
