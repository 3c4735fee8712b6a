"""The simulation: an agenda of who is to be looked at when, and who is there.

A stage is one server: while it computes, what arrives waits, and can still change what the stage does next.
"""

import heapq
import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, pairwise

from decoupled.schedules.actions import Action
from decoupled.schedules.events import PeerJoined, PeerLost
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.links import credits_together
from decoupled.simulator.effects import Agenda, Effects
from decoupled.simulator.feed import Feed
from decoupled.simulator.network import Costs, Link, Network
from decoupled.simulator.nodes import FEED, Box, Node
from decoupled.simulator.wires import Way, Wire

Make = Callable[[Place], Schedule]
Observe = Callable[[int, Action, float, float], None]  # stage, what it does, from when, until when
OTHER = -1  # on the agenda, in place of a node's number: something else is to be done


class Deadlock(Exception):
    """The schedule stopped before its work was done; the text says which stages were stuck."""


class Simulation:
    """One run on paper."""

    def __init__(
        self,
        make: Make,
        network: Network,
        window: int = 8,
        minibatch: int = 1,
        microbatches: int | None = None,
        observe: Observe | None = None,
        seed: int = 0,
    ) -> None:
        """`minibatch` microbatches make one update under the schedules that flush; None `microbatches`: without end."""
        self.now, self.network, self._random = 0.0, network, random.Random(seed)
        self.upload, self.download = Wire(network.coordinator.upload), Wire(network.coordinator.download)  # the coordinator's
        self.on_snapshot: Callable[[Node, int], None] = lambda node, microbatch: None
        self._make, self._window, self._minibatch, self._microbatches = make, window, minibatch, microbatches
        self._observe = observe
        self._agenda: Agenda = []
        self._order = count()
        self._effects = Effects(
            self._agenda,
            network.sizes,
            credits_together(window),
            lambda m: self.feed.ends_minibatch(m),
            lambda node, m: self.on_snapshot(node, m),
        )
        self.nodes = list(self._built())
        for above, below in pairwise(self.nodes):
            above.below, below.above = below, above
        self.begin_feed(0)
        for node in self.nodes[1:]:
            self.join(node)

    def _built(self) -> Iterator[Node]:
        devices, links = self.network.devices, [*self.network.links, Link()]
        feed = Costs(forward=self.network.coordinator.feed)
        yield Node(FEED, feed, self.upload, Way((), 0.0), self._way(self.upload, links[0]))
        for i, device in enumerate(devices):
            upload = Wire(device.upload)
            yield Node(i + 1, device.costs, upload, self._way(upload, links[i]), self._way(upload, links[i + 1]))

    def _way(self, upload: Wire, link: Link) -> Way:
        jitter = partial(self._random.uniform, 0, link.jitter) if link.jitter else None
        return Way((upload, Wire(link.bandwidth)), link.latency, jitter)

    @property
    def feed(self) -> Feed:
        feed = self.nodes[FEED].schedule
        assert isinstance(feed, Feed)
        return feed

    def run(self, until: float = math.inf) -> None:
        """Goes on until then, or to the end of the feed. Raises Deadlock when a schedule gets stuck."""
        agenda, nodes = self._agenda, self.nodes
        while agenda and agenda[0][0] <= until:
            entry = heapq.heappop(agenda)
            self.now, number = entry[0], entry[1]
            if number == OTHER:
                entry[3]()
            elif nodes[number].wake == self.now:
                self._turn(nodes[number])
        if agenda:
            self.now = until
        elif stuck := [node.number - 1 for node in nodes[1:] if node.schedule and not node.schedule.finished]:
            raise Deadlock(f"stages {stuck} still had work when nothing more could happen.")

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Has something else done then."""
        if when < math.inf:
            heapq.heappush(self._agenda, (when, OTHER, next(self._order), what))

    def _turn(self, node: Node) -> None:
        """The node takes in what has come, and acts until an action takes time or there is nothing to do."""
        now, schedule, effects, observe = self.now, node.schedule, self._effects, self._observe
        assert schedule is not None, "a lost device is not woken"
        node.wake = math.inf
        node.take_in(now)
        while (action := schedule.next_action()) is not None:
            done = effects.of[type(action)](node, action, now)
            if observe is not None and node.number != FEED:
                observe(node.number - 1, action, now, done)
            if done > now:
                node.free_at = done
                node.tally.busy += done - now
                effects.look_at(node, done)
                return
        if self._microbatches is not None and schedule.finished and not node.has_finished:
            node.has_finished = True
            effects.finish(node, now)
        if (arrival := node.next_arrival) < math.inf:
            effects.look_at(node, arrival)

    # Who is there.

    def begin_feed(self, position: int) -> None:
        """The feed goes on from there."""
        self.nodes[FEED].schedule = Feed(position, self._microbatches, self._minibatch)

    def mark(self) -> None:
        """A marker is to be fed as soon as it can."""
        self.feed.marker_is_due = True
        self._effects.look_at(self.nodes[FEED], self.now)

    def join(self, node: Node) -> None:
        """A worker takes the stage, and its place between its neighbours."""
        node.schedule = self._make(Place(node.number - 1, len(self.nodes) - 1))
        if node.above is not None:
            self._link(node.above, node)
        if node.below is not None:
            self._link(node, node.below)
        self._effects.look_at(node, self.now)

    def _link(self, above: Node, below: Node) -> None:
        if above.schedule is None or below.schedule is None:
            return
        below.schedule.upstream.owed, below.has_finished = 0, False
        room = self._window - len(below.schedule.upstream.waiting)
        self._effects.deliver(above, above.from_below, PeerJoined(self._window, room), self._heard_at(above))
        self._effects.look_at(below, self.now)

    def _heard_at(self, above: Node) -> float:
        """When a stage hears that the one below has come or gone; in the beginning all know."""
        return self.now + self.network.links[above.number].latency if self.now else 0.0

    def lose(self, node: Node) -> None:
        """Its worker is lost, and what was under way to it and from it; the one above hears of it."""
        node.stop(self.now)
        if node.below is not None:
            self._forget(node.below.from_above)
        if node.above is not None and node.above.schedule is not None:
            self._forget(node.above.from_below)
            self._effects.deliver(node.above, node.above.from_below, PeerLost(), self._heard_at(node.above))

    def _forget(self, box: Box) -> None:
        while box and box[-1][0] > self.now:
            box.pop()
