"""Nodes: the stages, and the feed before them, each with what is under way to it and what it has done."""

import math
from collections import deque
from dataclasses import dataclass, field

from decoupled.schedules.events import Event
from decoupled.schedules.interface import Schedule
from decoupled.simulator.network import Costs
from decoupled.simulator.wires import Way, Wire

Box = deque[tuple[float, Event]]  # what is under way to a node or waits there, each with its arrival
FEED = 0  # its number


@dataclass(slots=True)
class Tally:
    """What a node has done since the beginning."""

    busy: float = 0.0  # time spent computing
    updates: int = 0
    trained: int = 0  # microbatches that have gone back
    true: int = 0  # of these with a true gradient, and not from one that follows from a head's guess
    age: int = 0  # of all gradients that were used together, in updates since the forward pass
    aged: int = 0  # how many these are
    undone: int = 0  # of the trained: lost with the weights that had learnt from them


@dataclass(slots=True, eq=False)
class Node:
    """One stage, or the feed."""

    number: int  # 0 is the feed, and stage i is i + 1
    costs: Costs
    upload: Wire  # for all that it sends
    to_above: Way
    to_below: Way
    above: "Node | None" = None
    below: "Node | None" = None
    schedule: Schedule | None = None  # None: the device is lost
    free_at: float = 0.0
    wake: float = math.inf  # when it is looked at next
    from_above: Box = field(default_factory=deque)
    from_below: Box = field(default_factory=deque)
    has_finished: bool = False  # and said so
    tally: Tally = field(default_factory=Tally)
    peak: int = 0  # most microbatches held at once
    kept: int = 0  # of the trained: safe in a checkpoint, or lost already
    version: dict[int, int] = field(default_factory=dict)  # of each that is held: the updates before its forward pass
    guesses: set[int] = field(default_factory=set)  # of those held: the gradient on its way back follows from a guess

    @property
    def next_arrival(self) -> float:
        above = self.from_above[0][0] if self.from_above else math.inf
        below = self.from_below[0][0] if self.from_below else math.inf
        return above if above < below else below

    def take_in(self, now: float) -> None:
        """Tells the schedule all that has arrived."""
        assert self.schedule is not None, "nothing arrives at a lost device"
        above, below, receive = self.from_above, self.from_below, self.schedule.receive
        while above and above[0][0] <= now:
            receive(above.popleft()[1])
        while below and below[0][0] <= now:
            receive(below.popleft()[1])

    def hold(self, m: int) -> None:
        """m has gone forward."""
        self.version[m] = self.tally.updates
        if len(self.version) > self.peak:
            self.peak = len(self.version)

    def use(self, m: int) -> None:
        """The gradient of m that came back is used."""
        version = self.version.pop(m, None)
        if version is not None:
            self.tally.age += self.tally.updates - version
            self.tally.aged += 1

    def let_go(self, m: int) -> None:
        """m is over."""
        self.version.pop(m, None)
        self.guesses.discard(m)

    def stop(self, now: float) -> None:
        """The worker is lost, with what it had learnt since the last checkpoint and all that was under way to it."""
        self.schedule, self.wake, self.free_at, self.has_finished = None, math.inf, now, False
        self.tally.undone += self.tally.trained - self.kept
        self.kept = self.tally.trained
        for memory in (self.from_above, self.from_below, self.version, self.guesses):
            memory.clear()
        self.to_above.clear(now)
        self.to_below.clear(now)
