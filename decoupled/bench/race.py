"""The race to a target accuracy: how long each side takes, seed by seed, and who is first under each condition."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from statistics import fmean, median
from typing import Any

from decoupled.bench.benchmark import Benchmark, Case
from decoupled.bench.conditions import Condition
from decoupled.bench.trial import Outcome
from decoupled.plots import Point, number

NEVER = "never"
HEAD = ("side", "lr", "seconds, mean", "lowest to highest", "seeds there", "/undisturbed", "workers lost before")


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds to the target, one for each seed; None: that seed does not get there."""

    seconds: tuple[float | None, ...]

    @classmethod
    def of(cls, case: Case) -> "Times":
        return cls(tuple(outcome.target_s for outcome in case.outcomes))

    @property
    def there(self) -> list[float]:
        """Of the seeds that get there, in order."""
        return sorted(seconds for seconds in self.seconds if seconds is not None)

    @property
    def mean(self) -> float | None:
        """Over all seeds; None when one of them does not get there."""
        return fmean(self.there) if len(self.there) == len(self.seconds) else None

    @property
    def spread(self) -> str:
        """The lowest and the highest, of which "never" may be one."""
        if not self.there:
            return NEVER
        return f"{number(self.there[0])} to {NEVER if self.mean is None else number(self.there[-1])}"

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "seeds": list(self.seconds)}


def title(benchmark: Benchmark) -> str:
    return f"Seconds of training to {_target(benchmark)}:"


def _target(benchmark: Benchmark) -> str:
    return f"{100 * (benchmark.plan.target or 0):g} %"


def rows(benchmark: Benchmark) -> list[tuple[str, ...]]:
    """The table, one row a case, in the order of HEAD; nothing without a target."""
    if benchmark.plan.target is None:
        return []
    return [_row(benchmark, case) for case in benchmark.cases] + _ended_by_kills(benchmark)


def _row(benchmark: Benchmark, case: Case) -> tuple[str, ...]:
    times = Times.of(case)
    mean = NEVER if times.mean is None else number(times.mean)
    there = f"{len(times.there)} of {len(times.seconds)}"
    undisturbed = _undisturbed(benchmark, case)
    ratio = "-" if undisturbed is None or times.mean is None else f"{times.mean / undisturbed:.2f}"
    lost = sum(map(_lost_before, case.outcomes))
    return case.words, f"{case.resolved.run.lr:g}", mean, times.spread, there, ratio, f"{lost}"


def _lost_before(outcome: Outcome) -> int:
    """How many workers were lost before the target, or in the whole run if it does not get there."""
    until = inf if outcome.target_s is None else outcome.target_s
    return sum(one["what"] == "lost" and one["seconds"] <= until for one in outcome.report.get("incidents", []))


def _undisturbed(benchmark: Benchmark, case: Case) -> float | None:
    """The mean time of the same side on the same axis, where nothing disturbs it; None where it is that or is not known."""
    if not case.condition.axis or case.condition.is_undisturbed:
        return None
    same = (one for one in benchmark.cases if (one.side, one.condition.axis) == (case.side, case.condition.axis))
    return next((Times.of(one).mean for one in same if one.condition.is_undisturbed), None)


def _ended_by_kills(benchmark: Benchmark) -> list[tuple[str, ...]]:
    """A row for each side that could not go on after a kill, under each such condition."""
    kills = [condition for condition in benchmark.plan.conditions if condition.axis == "kill" and condition.value]
    alone = [case for case in benchmark.cases if not case.condition.axis]
    return [(f"{case.side}, {kill.words}", "-", "would begin anew", "-", "-", "-", "-") for kill in kills for case in alone]


def winners(benchmark: Benchmark) -> list[str]:
    """Who is first to the target under each condition, and by how much: a sentence each."""
    if benchmark.plan.target is None:
        return []
    return [_winner(benchmark, condition) for condition in benchmark.plan.conditions]


def _winner(benchmark: Benchmark, condition: Condition) -> str:
    """A side that the condition does not concern is not compared where that disturbs the others, but named if it is faster."""
    means = [(mean, case) for case in benchmark.cases if (mean := Times.of(case).mean) is not None]
    alone = [(mean, case.side) for mean, case in means if case.condition not in benchmark.plan.conditions]
    order = [(mean, case.side) for mean, case in means if case.condition == condition]
    order = sorted([*order, *alone] if condition.is_undisturbed else order)
    where, target = f"{condition.words}: " if condition.axis else "", _target(benchmark)
    if not order:
        return f"{where}no side gets to {target} with every seed."
    (best, side), others = order[0], order[1:]
    lead = f"{others[0][0] / best:.2f} times as fast as {others[0][1]}" if others else "the only side that gets there"
    spared = [f"{name} ({number(mean)} s)" for mean, name in alone if mean < best]
    also = f"; faster without it: {', '.join(spared)}" if spared else ""
    return f"{where}{side} is first to {target}, after {number(best)} s, {lead}{also}."


def losses(case: Case) -> list[Point]:
    """The test loss against seconds of training."""
    return _course(case, lambda evaluation: evaluation["loss"])


def errors(case: Case) -> list[Point]:
    """The test error in per cent against seconds of training."""
    return _course(case, lambda evaluation: 100 * (1 - evaluation["accuracy"]))


def _course(case: Case, value: Callable[[dict[str, Any]], float]) -> list[Point]:
    """For each evaluation the median over the seeds, of the seconds as well, with the lowest and the highest value."""
    found = []
    for evaluations in zip(*(outcome.report.get("evaluations", []) for outcome in case.outcomes), strict=False):
        values = [value(one) for one in evaluations]
        found.append(Point(median(one["training_s"] for one in evaluations), median(values), min(values), max(values)))
    return found
