"""A short run on paper, with everything that each stage does in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from decoupled.schedules.actions import Action
from decoupled.simulator.network import Costs, Device, Link, Network
from decoupled.simulator.simulation import Make, Simulation


@dataclass(frozen=True, slots=True)
class Slot:
    """One action of one stage on the timeline."""

    stage: int
    action: Action
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a simulated run came to."""

    slots: tuple[Slot, ...]
    stages: int
    makespan: float
    peak_stash: tuple[int, ...]  # per stage: most microbatches held at once

    @property
    def utilisation(self) -> float:
        """The share of all stages' time that is spent computing."""
        return sum(slot.end - slot.start for slot in self.slots) / (self.stages * self.makespan or 1)

    @property
    def bubble(self) -> float:
        """The share of all stages' time that is spent waiting."""
        return 1 - self.utilisation

    def to_json(self) -> dict[str, object]:
        """The forecast as plain values."""
        slots = [{"stage": s.stage, "action": str(s.action), "start": s.start, "end": s.end} for s in self.slots]
        figures = {
            "makespan": self.makespan,
            "utilisation": self.utilisation,
            "bubble": self.bubble,
            "peak_stash": list(self.peak_stash),
        }
        return {"stages": self.stages} | figures | {"timeline": slots}

    def actions(self, stage: int) -> str:
        """The stage's actions in order, in short form: `F0 B0 U ...`."""
        return " ".join(str(slot.action) for slot in self.slots if slot.stage == stage)


def simulate(
    make: Make,
    stages: int,
    microbatches: int,
    costs: Costs | Sequence[Costs],
    window: int = 8,
    minibatch: int = 1,
    link: Link | None = None,
) -> Forecast:
    """Runs `microbatches` through `stages` stages, with the same costs for all stages or one set for each, over equal links.

    `minibatch` of them make one update under the schedules that flush. Raises Deadlock when a schedule gets stuck.
    """
    each = [costs] * stages if isinstance(costs, Costs) else costs
    links = [Link(), *[link or Link()] * (stages - 1)]  # the feed is at hand
    return forecast(make, Network([Device(one) for one in each], links), window, minibatch, microbatches)


def forecast(make: Make, network: Network, window: int, minibatch: int, microbatches: int) -> Forecast:
    """The same over a network. Raises Deadlock when a schedule gets stuck."""
    slots: list[Slot] = []
    simulation = Simulation(make, network, window, minibatch, microbatches, lambda *slot: slots.append(Slot(*slot)))
    simulation.run()
    makespan = max((slot.end for slot in slots), default=0.0)
    return Forecast(tuple(slots), len(network.devices), makespan, tuple(node.peak for node in simulation.nodes[1:]))
