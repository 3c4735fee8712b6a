"""Figures: what a long run on paper comes to, once it is steady."""

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from decoupled.simulator.network import Network
from decoupled.simulator.nodes import FEED, Node, Tally
from decoupled.simulator.recovery import Recovery
from decoupled.simulator.simulation import Make, Simulation

STEADY = 0.1  # by so much the two halves of what is measured may differ


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One stage's."""

    rate: float  # microbatches learnt from and not lost again, per time
    utilisation: float  # share of the time spent computing
    truth: float | None  # share of the backward passes from a true gradient; None where none has to come back
    staleness: float | None  # updates between a forward pass and the use of its gradient, mean; None: none was used
    stash: int  # most microbatches held at once


@dataclass(frozen=True, slots=True)
class Figures:
    """The whole network's."""

    stages: tuple[StageFigures, ...]
    rate: float  # microbatches per time, mean over the stages
    utilisation: float
    truth: float | None
    staleness: float | None  # at the stage where it is largest
    missed: float  # share of what was fed that a stage never learnt from, mean
    undone: float  # share of what was learnt that was lost with a worker, or learnt again after a rollback
    failures: int
    checkpoints: int
    checkpoint_time: float | None  # from a marker to the last state, mean
    feed_busy: float  # share of the time in which the coordinator's upload carries something
    saving_busy: float  # its download
    is_steady: bool

    def to_json(self) -> dict[str, object]:
        """The figures as plain values."""
        return asdict(self)


def figures(
    make: Make, network: Network, duration: float, rolls_back: bool, window: int = 8, minibatch: int = 1, seed: int = 0
) -> Figures:
    """Runs for that long, and measures in the second half. Failures, jitter: the same for the same seed."""
    simulation = Simulation(make, network, window, minibatch, seed=seed)
    recovery = Recovery(simulation, rolls_back, seed)
    before, middle, after = (_moment(simulation, duration * share) for share in (0.5, 0.75, 1.0))
    time, done = duration / 2, _differences(before, after)
    stages = [_stage(one, time, node) for one, node in zip(done, simulation.nodes[FEED + 1 :], strict=True)]
    halves = [sum(one.trained for one in _differences(*moments)) for moments in ((before, middle), (middle, after))]
    truths = [stage.truth for stage in stages if stage.truth is not None]
    fed, trained = after.fed - before.fed, sum(one.trained for one in done)
    return Figures(
        tuple(stages),
        rate=_mean([stage.rate for stage in stages]),
        utilisation=_mean([stage.utilisation for stage in stages]),
        truth=_mean(truths) if truths else None,
        staleness=max((stage.staleness for stage in stages if stage.staleness is not None), default=None),
        missed=0.0 if rolls_back or not fed else max(1 - trained / len(done) / fed, 0.0),
        undone=sum(one.undone for one in done) / trained if trained else 0.0,
        failures=recovery.failures,
        checkpoints=recovery.checkpoints,
        checkpoint_time=recovery.checkpoint_time / recovery.checkpoints if recovery.checkpoints else None,
        feed_busy=min((after.uploading - before.uploading) / time, 1.0),  # what waits is counted already
        saving_busy=min((after.downloading - before.downloading) / time, 1.0),
        is_steady=0 < (1 - STEADY) * max(halves) <= min(halves),
    )


class _Moment(NamedTuple):
    """How things stand at some time."""

    tallies: list[Tally]  # of the stages
    fed: int
    uploading: float
    downloading: float


def _moment(simulation: Simulation, when: float) -> _Moment:
    simulation.run(when)
    tallies = [copy(node.tally) for node in simulation.nodes[FEED + 1 :]]
    return _Moment(tallies, simulation.feed.position, simulation.upload.busy, simulation.download.busy)


def _differences(before: _Moment, after: _Moment) -> list[Tally]:
    """What each stage has done between the two."""
    pairs = zip(before.tallies, after.tallies, strict=True)
    return [Tally(*(getattr(late, one.name) - getattr(early, one.name) for one in fields(Tally))) for early, late in pairs]


def _stage(done: Tally, time: float, node: Node) -> StageFigures:
    return StageFigures(
        rate=(done.trained - done.undone) / time,
        utilisation=min(done.busy / time, 1.0),  # what began last may end later
        truth=None if node.below is None or not done.trained else done.true / done.trained,
        staleness=done.age / done.aged if done.aged else None,
        stash=node.peak,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
