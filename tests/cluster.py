"""A whole cluster in one process and one thread: a coordinator and workers on the simulated network.

Time moves only when nothing can happen without it, so a run is the same for the same seed, however slow the machine.
"""

from decoupled.config import Run
from decoupled.data.dataset import Dataset
from decoupled.runtime.blueprint import Blueprint, draw
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.worker import Worker
from decoupled.transport.memory import Faults, MemoryNetwork

STEPS_MAX = 2_000_000


class Cluster:
    """A run whose turns the test can take one by one, or all with `run`."""

    def __init__(self, run: Run, dataset: Dataset, seed: int = 0, faults: Faults | None = None) -> None:
        self.blueprint: Blueprint = draw(run, dataset)
        self.network = MemoryNetwork(seed, faults)
        transport = self.network.endpoint()
        transport.bind("memory://coordinator")
        self.coordinator = Coordinator(self.blueprint, transport, clock=lambda: self.network.now)
        self.workers = [
            Worker(self.network.endpoint(), clock_ns=lambda: round(self.network.now * 1e9)) for _ in self.blueprint.stages
        ]
        for number, worker in enumerate(self.workers):
            worker.join("memory://coordinator", f"memory://{number}", f"worker-{number}")

    def assemble(self) -> None:
        """Lets everyone find everyone; nothing has been fed yet."""
        while not self.coordinator.is_training:
            self.coordinator.step(0)
            for worker in self.workers:
                worker.step()

    def settle(self) -> None:
        """Lets everyone work until nobody can go on at this moment of simulated time."""
        moved = True
        while moved:
            self.coordinator.step(0)
            moved = False
            for worker in self.workers:
                while worker.step():
                    moved = True
            due = self.network.next_due()
            moved = moved or (due is not None and due <= self.network.now)

    def run(self) -> None:
        """Runs to the end, moving the clock on whenever all wait."""
        for _ in range(STEPS_MAX):
            self.settle()
            if self.coordinator.is_done:
                return
            due = self.network.next_due()
            self.network.now = max(self.network.now, due) if due is not None else self.network.now + 0.5
        raise AssertionError("the cluster did not finish")
