"""The plan of a benchmark: which sides, under which conditions, in how many rounds."""

from dataclasses import dataclass

from decoupled.bench import peers
from decoupled.bench.conditions import Condition, changed, numbers
from decoupled.config import Run
from decoupled.errors import UsageError
from decoupled.schedules.catalogue import TAKES

SCHEDULES = ("single", "lockstep", "gpipe", "1f1b", "async1f1b", "2bw", "local", "dni")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    run: Run
    schedules: tuple[str, ...]
    microbatches: int | None  # of gpipe, 1f1b and 2bw; None: the fastest of a few
    peers: tuple[str, ...]
    conditions: tuple[Condition, ...]
    repeat: int  # rounds
    warm_up: int  # updates
    target: float | None  # test accuracy
    rates: tuple[float, ...] = ()  # learning rates, of which each side gets its best; none: the run's own
    notes: tuple[str, ...] = ()  # what a reader of the figures must know

    @property
    def is_by_clock(self) -> bool:
        """Whether seconds are those of the run's clock, and not of steady training, which kills interrupt."""
        return any(condition.axis == "kill" for condition in self.conditions)


def plan(
    run: Run,
    schedules: str,
    microbatches: int | None,
    peer: str | None,
    conditions: list[Condition],
    repeat: int,
    warm_up: int,
    target: float | None,
    device_ms: float | None,
    rates: str | None = None,
) -> Plan:
    """The plan that the options describe.

    With a target each side gets the best of several learning rates: half the run's, the run's and twice that, if `rates` does
    not name others. Raises UsageError when there is no such schedule, no such peer installed, or nothing to be had.
    """
    if device_ms is not None:
        run = changed(run, emulation=run.emulation.model_dump() | {"device_ms": device_ms})
    names = _schedules(schedules, run)
    if target is not None:
        run = changed(run, runtime=run.runtime.model_dump() | {"evaluate_every": 1})
    tried = _rates(rates, run, target)
    if len(tried) == 1:
        run, tried = changed(run, lr=tried[0]), ()
    others, notes = _peers(run, peer, target)
    notes += _notes(run, conditions)
    return Plan(run, names, microbatches, others, tuple(conditions), repeat, warm_up, target, tried, tuple(notes))


def _schedules(text: str, run: Run) -> tuple[str, ...]:
    """Those that are named, each once. Raises UsageError for others, and for options of the run that none of them takes."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in SCHEDULES]:
        raise UsageError(f"There is no schedule {unknown[0]!r} to compare. Choose among {', '.join(SCHEDULES)}.")
    taken = {option for name in names for option in TAKES.get(name, ())}
    if unknown := sorted(run.args.schedule.keys() - taken):
        raise UsageError(f"None of the schedules to compare takes the option {unknown[0]} of args.schedule. Leave it out.")
    return names


def _notes(run: Run, conditions: list[Condition]) -> list[str]:
    """What a reader must know of what is emulated."""
    notes = []
    if any(condition.axis == "kill" for condition in conditions):
        notes.append(
            "Where workers are killed, seconds and samples/s are those of the run's clock, with evaluations and repairs. Workers "
            "are replaced at once; dni and local go on, and the others go back to the last checkpoint. What trains in one "
            "process, and PyTorch, would begin anew."
        )
    if run.emulation.device_ms is not None:
        notes.append(
            f"The devices are emulated: instead of computing, a worker waits, {run.emulation.device_ms:g} ms for a layer's three "
            "products with a batch. With several numbers of workers, the network has as many layers. Nothing is learnt."
        )
    return notes


def _rates(text: str | None, run: Run, target: float | None) -> tuple[float, ...]:
    """The learning rates to choose among. Raises UsageError where there is no accuracy to choose by."""
    if target is not None and run.emulation.device_ms is not None:
        raise UsageError("On emulated devices nothing is learnt, so no accuracy is reached. Leave --target-accuracy out.")
    if text is None:
        return () if target is None else (run.lr / 2, run.lr, 2 * run.lr)
    if target is None:
        raise UsageError("--rates are chosen among where an accuracy is the target. Give --target-accuracy, or one rate as --lr.")
    return tuple(numbers("--rates", text, 1e-9, 1e3))


def _peers(run: Run, peer: str | None, target: float | None) -> tuple[tuple[str, ...], list[str]]:
    """The peers that take part, and why the others do not. Raises UsageError for one that is not known or installed."""
    if peer not in (None, "torch"):
        raise UsageError(f"There is no peer {peer!r}. The only one is torch.")
    if peer == "torch" and not peers.is_there():
        raise UsageError("--peers torch needs a package: pip install 'decoupled-trainer[torch]'")
    if peer is None:
        return (), []
    if run.emulation.device_ms is not None:
        return (), ["PyTorch takes no part where devices are emulated."]
    if target is not None:
        return peers.NAMES[:1], ["PyTorch's pipelines take no part with a target, because they are not evaluated here."]
    return peers.NAMES, []
