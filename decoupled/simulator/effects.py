"""Effects: how long an action takes its node, what counts of it, and what neighbours are sent, by the rules of the worker."""

import heapq
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from decoupled.schedules.actions import (
    Action,
    Answer,
    Backward,
    Drop,
    EndFeed,
    Evaluate,
    Evict,
    Fence,
    Forward,
    Refine,
    Send,
    Skip,
    Snapshot,
    Source,
    Update,
)
from decoupled.schedules.events import (
    ActivationArrived,
    Event,
    FeedEnded,
    FenceArrived,
    GradientArrived,
    GradientsEnded,
    MarkerArrived,
    PeerFinished,
)
from decoupled.simulator.network import Sizes
from decoupled.simulator.nodes import Box, Node

Agenda = list[Any]  # a heap of (when, node's number), or of (when, OTHER, order, what is to be done)
IN_FLIGHT = 1 << 14  # about as many microbatches as are under way in the largest network
Effect = Callable[[Node, Any, float], float]  # node, action, when it begins: when it is done


class Effects:
    """What every action of any node comes to. Messages go into the boxes of those who live, and these onto the agenda."""

    def __init__(
        self,
        agenda: Agenda,
        sizes: Sizes,
        together: int,
        ends_minibatch: Callable[[int], bool],
        on_snapshot: Callable[[Node, int], None],
    ) -> None:
        """`together` credits go in one message."""
        self._agenda, self._together, self._ends_minibatch, self._on_snapshot = agenda, together, ends_minibatch, on_snapshot
        self._activation_size, self._gradient_size = sizes.activation + sizes.header, sizes.gradient + sizes.header
        self._header = sizes.header
        self._activation = lru_cache(IN_FLIGHT)(self._made)  # the same value for every stage
        self.of: dict[type[Action], Effect] = {
            Forward: self._forward,
            Backward: self._backward,
            Update: self._update,
            Refine: self._refine,
            Evaluate: self._evaluate,
            Evict: self._evict,
            Send: self._send,
            Drop: self._nothing,
            Skip: self._skip,
            Snapshot: self._snapshot,
            Fence: self._fence,
            Answer: self._answer,
            EndFeed: self._end_feed,
        }

    def _forward(self, node: Node, action: Forward, now: float) -> float:
        done, m = now + node.costs.forward, action.microbatch
        if node.above is not None:
            node.hold(m)
        if action.send:
            self._send_down(node, self._activation(m, action.wants_gradient), done, self._activation_size)
        self._grant(node, done)
        return done

    def _backward(self, node: Node, action: Backward, now: float) -> float:
        costs, tally, m = node.costs, node.tally, action.microbatch
        done, has_returned = now + costs.backward, action.source in (Source.TRUE, Source.CORRECTION)
        is_true = has_returned and m not in node.guesses
        tally.trained += action.source is not Source.CORRECTION
        tally.true += is_true
        if not has_returned:
            done += costs.synthesize
        if action.send:
            done += costs.input_gradient
        if action.send and action.source is not Source.TENTATIVE:
            self._send_gradient(node, m, is_true, done)
        if has_returned:
            node.use(m)
        elif not action.keep:
            node.let_go(m)
        return done

    def _update(self, node: Node, action: Update, now: float) -> float:
        node.tally.updates += 1
        return now + node.costs.update

    def _refine(self, node: Node, action: Refine, now: float) -> float:
        node.use(action.microbatch)
        node.guesses.discard(action.microbatch)
        return now + node.costs.refine

    def _evaluate(self, node: Node, action: Evaluate, now: float) -> float:
        done = now + node.costs.forward
        self._send_down(node, ActivationArrived(action.microbatch, training=False), done, self._activation_size)
        self._grant(node, done)
        return done

    def _evict(self, node: Node, action: Evict, now: float) -> float:
        node.let_go(action.microbatch)
        return now

    def _send(self, node: Node, action: Send, now: float) -> float:
        self._send_down(node, self._activation(action.microbatch, action.wants_gradient), now, self._activation_size)
        return now

    def _nothing(self, node: Node, action: Drop, now: float) -> float:
        return now

    def _skip(self, node: Node, action: Skip, now: float) -> float:
        self._grant(node, now)
        return now

    def _snapshot(self, node: Node, action: Snapshot, now: float) -> float:
        self._send_down(node, MarkerArrived(action.microbatch), now, self._header)
        self._on_snapshot(node, action.microbatch)
        return now

    def _fence(self, node: Node, action: Fence, now: float) -> float:
        self._send_down(node, FenceArrived(action.microbatch), now, self._header)
        return now

    def _answer(self, node: Node, action: Answer, now: float) -> float:
        self.send_up(node, GradientsEnded(action.microbatch), now, self._header)
        return now

    def _end_feed(self, node: Node, action: EndFeed, now: float) -> float:
        self._send_down(node, FeedEnded(), now, self._header)
        return now

    def finish(self, node: Node, now: float) -> None:
        """The node tells the one above that no gradient will come any more."""
        self.send_up(node, PeerFinished(), now, self._header)

    def _made(self, m: int, is_wanted: bool) -> ActivationArrived:
        return ActivationArrived(m, ends_minibatch=self._ends_minibatch(m), wants_gradient=is_wanted)

    def _grant(self, node: Node, done: float) -> None:
        assert node.schedule is not None
        if (credit := node.schedule.upstream.grant(self._together)) is not None:
            self.send_up(node, credit, done, self._header)

    def _send_gradient(self, node: Node, m: int, is_true: bool, done: float) -> None:
        if not is_true and node.above is not None and m in node.above.version:
            node.above.guesses.add(m)
        self.send_up(node, GradientArrived(m), done, self._gradient_size)

    def send_up(self, node: Node, event: Event, done: float, size: float) -> None:
        above = node.above
        if above is not None and above.schedule is not None:
            self.deliver(above, above.from_below, event, node.to_above.arrival(size, done))

    def _send_down(self, node: Node, event: Event, done: float, size: float) -> None:
        below = node.below
        if below is not None and below.schedule is not None:
            self.deliver(below, below.from_above, event, node.to_below.arrival(size, done))

    def deliver(self, node: Node, box: Box, event: Event, arrival: float) -> None:
        """The event arrives in the node's box then."""
        box.append((arrival, event))
        when = arrival if arrival > node.free_at else node.free_at  # as in `look_at`, of which most calls would be these
        if when < node.wake:
            node.wake = when
            heapq.heappush(self._agenda, (when, node.number))

    def look_at(self, node: Node, when: float) -> None:
        """Has the node look for work then, or when it has done what it does."""
        if when < node.free_at:
            when = node.free_at
        if when < node.wake:
            node.wake = when
            heapq.heappush(self._agenda, (when, node.number))
