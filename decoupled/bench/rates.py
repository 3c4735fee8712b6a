"""The learning rate of each side: the best of a few, by the accuracy on samples held out from the training set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from decoupled.bench import peers
from decoupled.bench.choice import Choice, choose
from decoupled.bench.conditions import changed
from decoupled.bench.cut import Cut
from decoupled.bench.held_out import quarter
from decoupled.bench.plan import Plan
from decoupled.bench.short_runs import trying
from decoupled.config import Run
from decoupled.runtime.resolve import ResolvedRun

TRIES = 2  # of each rate, in turn, each with a seed of its own
MEASURE = "held_out_accuracy"


def of_side(name: str, run: Run, plan: Plan, cut: Cut, on_try: Callable[[str], None]) -> tuple[Run, Choice]:
    """The side's run at its best rate, and how that was chosen. Raises RunFailed when it can be trained with none."""
    with trying(run.runtime.threads, plan.warm_up, run.code) as train:

        def tries(rate: float) -> Callable[[], float]:
            seeds = count(run.seed)
            return lambda: train(quarter(cut.resolve(changed(run, lr=rate, seed=next(seeds))), cut.held_out)).accuracy or 0.0

        choice = _choose(name, {rate: tries(rate) for rate in plan.rates}, on_try)
    return changed(run, lr=float(choice.best)), choice


def of_peer(
    name: str, settings: peers.Settings, resolved: ResolvedRun, plan: Plan, on_try: Callable[[str], None]
) -> tuple[ResolvedRun, Choice]:
    """The same for a peer."""

    def tries(rate: float) -> Callable[[], float]:
        seeds = count(resolved.run.seed)
        return lambda: peers.held_out_accuracy(settings, _with(resolved, lr=rate, seed=next(seeds)))

    choice = _choose(name, {rate: tries(rate) for rate in plan.rates}, on_try)
    return _with(resolved, lr=float(choice.best)), choice


def _with(resolved: ResolvedRun, **values: float) -> ResolvedRun:
    return replace(resolved, run=resolved.run.model_copy(update=values))


def _choose(name: str, tries: dict[float, Callable[[], float]], on_try: Callable[[str], None]) -> Choice:
    named = {f"{rate!r}": one for rate, one in tries.items()}
    return choose(name, named, lambda what: on_try(f"{what} as learning rate"), TRIES, MEASURE)


def note(choices: Sequence[Choice]) -> str:
    """What a reader must know of the rates."""
    sides = "; ".join(f"{choice.side} {float(choice.best):g} ({_tried(choice)})" for choice in choices)
    said = (
        f"Each side has the learning rate that was best in {TRIES} tries of each, without conditions: a quarter of the run on "
        f"nine tenths of the training set, judged by the mean accuracy on the rest. {sides}."
    )
    if edge := [choice.side for choice in choices if len(choice.tries) > 2 and choice.best in _ends(choice)]:
        said += f" The rate of {', '.join(edge)} is the lowest or highest of those tried: --rates can name others."
    return said


def _ends(choice: Choice) -> tuple[str, str]:
    return min(choice.tries, key=float), max(choice.tries, key=float)


def _tried(choice: Choice) -> str:
    means = {float(name): sum(tries) / len(tries) for name, tries in choice.tries.items()}
    return ", ".join(f"{rate:g}: {mean:.1%}" for rate, mean in means.items())
