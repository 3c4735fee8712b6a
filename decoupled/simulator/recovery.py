"""Failures on paper: checkpoints, devices that are lost, and what follows, by the coordinator's rules (docs/reliability.md)."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from decoupled.simulator.nodes import FEED, Node
from decoupled.simulator.simulation import Simulation

PIECES = 64  # of a state, between which other messages of its device get their turn


@dataclass(slots=True, eq=False)
class _Checkpoint:
    """One under way."""

    microbatch: int
    begun: float
    trained: dict[int, int] = field(default_factory=dict)  # by each node whose state is there: microbatches


class Recovery:
    """Makes a simulation's checkpoints, loses its devices by chance, and has others take their places.

    Under `rolls_back` all stages go back to the last checkpoint; otherwise the lost stage alone does, and the others go on.
    """

    def __init__(self, simulation: Simulation, rolls_back: bool, seed: int = 0) -> None:
        self._simulation, self._rolls_back = simulation, rolls_back
        self._random = random.Random(seed)  # of its own, so that every schedule has the same failures
        self._nodes = simulation.nodes
        self._devices, self._coordinator = simulation.network.devices, simulation.network.coordinator
        self.failures, self.checkpoints = 0, 0
        self.checkpoint_time = 0.0  # of all checkpoints together, from the marker to the last state
        self._position = 0  # of the feed, from which a rollback goes on
        self._pending: _Checkpoint | None = None
        self._is_wanted = False
        self._timer = 0  # the newest; older ones mean nothing
        self._lives = [0] * len(self._nodes)  # how often each stage has lost its worker
        self._usable_at = [0.0] * len(self._nodes)
        simulation.on_snapshot = self._take
        self._begin_interval(0.0)
        for node in self._nodes[FEED + 1 :]:
            self._expect_failure(node, 0.0)

    # Checkpoints.

    def _begin_interval(self, begun: float) -> None:
        self._timer += 1
        due = max(begun + self._coordinator.checkpoint_every, self._simulation.now)
        self._simulation.at(due, partial(self._want, self._timer))

    def _want(self, timer: int) -> None:
        if timer == self._timer:
            self._is_wanted = True
            self._mark_if_all_are_there()

    def _mark_if_all_are_there(self) -> None:
        if self._is_wanted and self._pending is None and all(node.schedule is not None for node in self._nodes):
            self._is_wanted = False
            self._simulation.mark()

    def _take(self, node: Node, microbatch: int) -> None:
        """The node is at the marker; its state goes to the coordinator."""
        if node.number == FEED:
            self._pending = _Checkpoint(microbatch, self._simulation.now)
        elif (pending := self._pending) is not None and pending.microbatch == microbatch:
            self._send_state(node, pending, node.tally.trained, PIECES)

    def _send_state(self, node: Node, checkpoint: _Checkpoint, trained: int, pieces: int) -> None:
        """Sends the next piece, and the others when it is through."""
        if self._pending is not checkpoint:
            return
        if pieces:
            size = self._simulation.network.sizes.state / PIECES
            sent = node.upload.carry(size, self._simulation.now)
            received = self._simulation.download.carry(size, sent)
            rest = partial(self._send_state, node, checkpoint, trained, pieces - 1)
            self._soon(received if pieces == 1 else sent, rest)
            return
        checkpoint.trained[node.number] = trained
        if len(checkpoint.trained) == len(self._devices):
            self._complete(checkpoint)

    def _soon(self, when: float, what: Callable[[], None]) -> None:
        if when > self._simulation.now:
            self._simulation.at(when, what)
        else:
            what()

    def _complete(self, checkpoint: _Checkpoint) -> None:
        self._pending = None
        self._position = checkpoint.microbatch + 1
        self.checkpoints += 1
        self.checkpoint_time += self._simulation.now - checkpoint.begun
        for node in self._nodes[FEED + 1 :]:
            node.kept = checkpoint.trained[node.number]
        self._begin_interval(checkpoint.begun)

    # Failures.

    def _expect_failure(self, node: Node, since: float) -> None:
        every = self._devices[node.number - 1].failure_every
        if every < math.inf:
            when = since + self._random.expovariate(1 / every)
            self._simulation.at(when, partial(self.fail, node))

    def fail(self, node: Node) -> None:
        """The node's device is lost now."""
        now = self._simulation.now
        self.failures += 1
        back = self._usable_at[node.number] = now + self._devices[node.number - 1].recovery
        self._expect_failure(node, back)
        self._pending, self._is_wanted = None, True
        if self._rolls_back:
            self._roll_back()
        else:
            self._simulation.lose(node)
            self._replace(node, back)

    def _roll_back(self) -> None:
        simulation = self._simulation
        for node in self._nodes:
            node.stop(simulation.now)
        simulation.upload.clear(simulation.now)
        simulation.begin_feed(self._position)
        self._is_wanted = False
        self._begin_interval(simulation.now)
        for node in self._nodes[FEED + 1 :]:
            self._replace(node, max(self._usable_at[node.number], simulation.now))

    def _replace(self, node: Node, when: float) -> None:
        """Then a worker asks for the stage's state, and takes it when it has that."""
        self._lives[node.number] += 1
        self._simulation.at(when, partial(self._load, node, self._lives[node.number]))

    def _load(self, node: Node, life: int) -> None:
        if life == self._lives[node.number]:
            loaded = self._simulation.upload.carry(self._simulation.network.sizes.state, self._simulation.now)
            self._simulation.at(loaded, partial(self._join, node, life))

    def _join(self, node: Node, life: int) -> None:
        if life == self._lives[node.number]:
            self._simulation.join(node)
            self._mark_if_all_are_there()
