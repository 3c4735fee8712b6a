"""A whole cluster in one process and one thread: a coordinator and workers on the simulated network.

Time moves only when nothing can happen without it, so a run is the same for the same seed, however slow the machine.
"""

import copy
import math
from collections.abc import Callable
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
COORDINATOR = "memory://coordinator"


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

    def load_stage(self, stage: int, up_to: int) -> Future[StageState | None]:
        newest = next((saved for saved in reversed(self.saved) if saved.microbatch <= up_to), None)
        return _done(newest.stage(stage) if newest is not None else None)

    def pass_on_warnings(self) -> None:
        """Nothing goes wrong."""


def _done(value: T) -> Future[T]:
    """What is there at once, so that a cluster is one thread."""
    future = Future[T]()
    future.set_result(value)
    return future


class Cluster:
    """A run whose turns the test can take one by one, or all with `run`. After every turn it is looked over."""

    def __init__(
        self,
        run: Run,
        dataset: DataSource,
        seed: int = 0,
        faults: Faults | None = None,
        store: "MemoryStore | None" = None,
        network: SimulatedNetwork | None = None,
        action_s: float = 0.0,
        on_event: Callable[[], None] = lambda: None,
    ) -> None:
        """A worker's action takes `action_s`. `on_event` is called before each turn of anyone."""
        self.resolved: ResolvedRun = resolve(run, dataset)
        self.network = network or SimulatedNetwork(seed, faults)
        self._action_s, self._on_event = action_s, on_event
        transport = self.network.endpoint()
        transport.bind(COORDINATOR)
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
        self.workers[-1].join(COORDINATOR, f"memory://{number}", f"worker-{number}")

    @property
    def alive(self) -> list[Worker]:
        return [worker for number, worker in enumerate(self.workers) if number not in self.dead]

    def address(self, stage: int) -> str:
        """Where that stage's worker is; the stage before the first is the coordinator, which feeds it."""
        if stage < 0:
            return COORDINATOR
        worker = self.coordinator.group.members.workers[stage]
        return worker.address if worker is not None else ""

    def cut(self, stage: int, refuse_s: float = 0.0) -> None:
        """Resets the connection from that stage to the next, and refuses another for so long."""
        self.network.reset(self.address(stage), self.address(stage + 1), refuse_s)

    def kill(self, stage: int) -> None:
        """Has the worker of that stage vanish, with all that it knew."""
        self._end(int(self.address(stage).removeprefix("memory://")))

    def _end(self, number: int) -> None:
        self.dead.add(number)
        self.network.crash(f"memory://{number}")

    def _bury(self) -> None:
        """A worker that was told to stop is gone, as its process would be."""
        for number, worker in enumerate(self.workers):
            if (worker.is_done or worker.is_dismissed) and number not in self.dead:
                self._end(number)

    def assemble(self) -> None:
        """Lets everyone find everyone."""
        while not self.coordinator.is_training:
            self.advance()

    def settle(self) -> None:
        """Lets everyone work until nobody can go on at this moment of simulated time."""
        moved = True
        while moved:
            self._coordinate()
            moved = False
            for number in self._numbers:
                while self._step(number):
                    moved = True
            self._bury()
            due = self.network.next_due()
            moved = moved or (due is not None and due <= self.network.now)

    def advance(self) -> None:
        """One turn of each, and if nobody did anything, on to the moment when something can happen."""
        self._coordinate()
        acted = [self._step(number) for number in self._numbers]
        self._bury()
        if not any(acted):
            self._move_on()

    @property
    def _numbers(self) -> list[int]:
        return [number for number in range(len(self.workers)) if number not in self.dead]

    def _coordinate(self) -> None:
        self._on_event()
        self.coordinator.step(0)
        for _ in range(self.coordinator.take_due_starts()):
            self.start()

    def _step(self, number: int) -> bool:
        """Whether the worker did something; one whose stage was given to another ends as its process would."""
        self._on_event()
        address, worker, now = f"memory://{number}", self.workers[number], self.network.now
        if number in self.dead or self.network.busy_until.get(address, 0.0) > now:
            return False
        self.network.busy_until[address] = now + self._action_s
        acted = False
        try:
            acted = worker.step()
        except RunFailed:
            if not (worker.is_done or worker.is_dismissed):
                raise
        worker.validate()
        if not acted:
            self.network.busy_until[address] = now
        return acted

    def _move_on(self) -> None:
        busy = [until for until in self.network.busy_until.values() if until > self.network.now]
        due = min([due for due in (self.network.next_due(), *busy) if due is not None], default=None)
        self.network.now = max(self.network.now, due) if due is not None else self.network.now + 0.5

    def run(self, seconds_max: float = math.inf) -> None:
        """Runs to the end, which must come in so many seconds, moving the clock on whenever all wait."""
        for _ in range(STEPS_MAX):
            self.settle()
            if self.coordinator.is_done:
                return
            self._move_on()
            if self.network.now > seconds_max:
                break
        raise AssertionError("the cluster did not finish")
