"""A whole cluster in one process and one thread: a coordinator and workers on the simulated network.

Time moves only when nothing can happen without it, so a run is the same for the same seed, however slow the machine.
"""

import copy
from concurrent.futures import Future
from typing import TypeVar

from decoupled.checkpoint import Checkpoint, StageState
from decoupled.config import Run
from decoupled.data.source import DataSource
from decoupled.errors import RunFailed
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.runtime.worker import Worker
from decoupled.transport.simulated import Faults, SimulatedNetwork

T = TypeVar("T")
STEPS_MAX = 2_000_000


class MemoryStore:
    """Keeps the last checkpoint, as a file would: nothing in it changes any more."""

    is_busy = False

    def __init__(self) -> None:
        self.saved: list[Checkpoint] = []

    @property
    def last_saved(self) -> int | None:
        return self.saved[-1].microbatch if self.saved else None

    def save(self, checkpoint: Checkpoint) -> None:
        self.saved.append(copy.deepcopy(checkpoint))

    def latest(self) -> Checkpoint | None:
        return self.saved[-1] if self.saved else None

    def load(self) -> Future[Checkpoint | None]:
        return _done(self.latest())

    def load_stage(self, stage: int) -> Future[StageState | None]:
        return _done(latest.stage(stage) if (latest := self.latest()) is not None else None)

    def pass_on_warnings(self) -> None:
        """Nothing goes wrong."""


def _done(value: T) -> Future[T]:
    """What is there at once, so that a cluster is one thread."""
    future = Future[T]()
    future.set_result(value)
    return future


class Cluster:
    """A run whose turns the test can take one by one, or all with `run`."""

    def __init__(
        self,
        run: Run,
        dataset: DataSource,
        seed: int = 0,
        faults: Faults | None = None,
        store: "MemoryStore | None" = None,
        network: SimulatedNetwork | None = None,
    ) -> None:
        self.resolved: ResolvedRun = resolve(run, dataset)
        self.network = network or SimulatedNetwork(seed, faults)
        transport = self.network.endpoint()
        transport.bind("memory://coordinator")
        self.store = MemoryStore() if store is None else store
        self.coordinator = Coordinator(self.resolved, transport, self.store, self.store.latest(), clock=lambda: self.network.now)
        self.workers: list[Worker] = []
        self.dead: set[int] = set()  # numbers of workers that have crashed
        for _ in self.resolved.stages:
            self.start()

    def start(self) -> None:
        """Another worker joins."""
        number = len(self.workers)
        self.workers.append(Worker(self.network.endpoint(), clock_ns=lambda: round(self.network.now * 1e9)))
        self.workers[-1].join("memory://coordinator", f"memory://{number}", f"worker-{number}")

    @property
    def alive(self) -> list[Worker]:
        return [worker for number, worker in enumerate(self.workers) if number not in self.dead]

    def kill(self, stage: int) -> None:
        """Has the worker of that stage vanish, with all that it knew."""
        peer = self.coordinator.group.members.workers[stage]
        assert peer is not None, f"stage {stage} has no worker to lose"
        self._end(int(peer.peer.removeprefix("worker-")))

    def _end(self, number: int) -> None:
        self.dead.add(number)
        self.network.crash(f"memory://{number}")

    def _bury(self) -> None:
        """A worker that was told to stop is gone, as its process would be."""
        for number, worker in enumerate(self.workers):
            if worker.is_done and number not in self.dead:
                self._end(number)

    def assemble(self) -> None:
        """Lets everyone find everyone."""
        while not self.coordinator.is_training:
            self.advance()

    def settle(self) -> None:
        """Lets everyone work until nobody can go on at this moment of simulated time."""
        moved = True
        while moved:
            self.coordinator.step(0)
            for _ in range(self.coordinator.take_due_starts()):
                self.start()
            moved = False
            for worker in self.alive:
                while _step(worker):
                    moved = True
            self._bury()
            due = self.network.next_due()
            moved = moved or (due is not None and due <= self.network.now)

    def advance(self) -> None:
        """One turn of each, and if nobody did anything, on to the moment when something can happen."""
        self.coordinator.step(0)
        for _ in range(self.coordinator.take_due_starts()):
            self.start()
        acted = [_step(worker) for worker in self.alive]
        self._bury()
        if not any(acted):
            self._move_on()

    def _move_on(self) -> None:
        due = self.network.next_due()
        self.network.now = max(self.network.now, due) if due is not None else self.network.now + 0.5

    def run(self) -> None:
        """Runs to the end, moving the clock on whenever all wait."""
        for _ in range(STEPS_MAX):
            self.settle()
            if self.coordinator.is_done:
                return
            self._move_on()
        raise AssertionError("the cluster did not finish")


def _step(worker: Worker) -> bool:
    """Whether the worker did something; one whose stage was given to another ends as its process would."""
    try:
        return worker.step()
    except RunFailed:
        if not worker.is_done:
            raise
        return False
