"""dni: forward, update at once from the head, and refine the head whenever the gradient comes (arXiv 1608.05343).

Nothing here waits for a gradient. Two limits bound the memory: credit (room in the downstream inbox) and `stash_max`
(microbatches of one's own whose gradient is still out). Refining goes first: otherwise a busy stage would never refine,
and its stash would only grow.

Every `feedback_every`-th microbatch has its gradient sent back. What that gradient is, is the kind of feedback:
- bootstrapped: a stage back-propagates its own synthetic gradient at once and sends that up (the paper's rule);
- chained: a stage keeps such a microbatch until the gradient from downstream is here, makes the update with it, and
  only then sends its own up. So the true gradient comes down the whole chain, late, and at no extra cost.

What a stage does when the downstream inbox is full is its `overflow`: block, and wait for room; or go on, and keep its
outputs itself: as many as the inbox holds (drop-oldest) or the newest alone (latest). Whatever is pushed out is dropped.

While its downstream neighbour is lost, a stage goes on from its head. Under block it keeps as many outputs as the inbox
would hold, for the neighbour's successor, and then waits; otherwise it goes on for as long as it is fed.
"""

from collections import deque
from typing import Literal, TypeAlias

from decoupled.schedules.actions import (
    Action,
    Backward,
    Drop,
    EndFeed,
    Evaluate,
    Evict,
    Forward,
    Refine,
    Send,
    Snapshot,
    Source,
    Update,
)
from decoupled.schedules.events import (
    ActivationArrived,
    Event,
    Expired,
    GradientArrived,
    MarkerArrived,
    PeerFinished,
    PeerLost,
)
from decoupled.schedules.inbox import Downstream, Inbox
from decoupled.schedules.interface import Place

Feedback: TypeAlias = Literal["chained", "bootstrapped"]
Overflow: TypeAlias = Literal["block", "drop-oldest", "latest"]


def window_under(overflow: Overflow, window: int) -> int:
    """How many microbatches an upstream stage may have in an inbox of `window`.

    With `latest` one alone: the queue is the upstream's own, or what it passes on would be as old as the inbox is long.
    """
    return 1 if overflow == "latest" else window


class Dni:
    """The decoupled schedule of one stage."""

    def __init__(
        self,
        place: Place,
        feedback_every: int = 1,
        stash_max: int = 8,
        feedback: Feedback = "bootstrapped",
        overflow: Overflow = "block",
    ) -> None:
        self._place, self._feedback_every, self._stash_max, self._overflow = place, feedback_every, stash_max, overflow
        self._chained = feedback == "chained"
        self._inbox, self._downstream = Inbox(), Downstream(is_there=not place.is_last)
        self._due: deque[Action] = deque()  # decided, not yet performed
        self._stash: dict[int, None] = {}  # microbatches whose gradient is still out, oldest first
        self._hopeless: set[int] = set()  # those of the stash whose output was dropped
        self._unsent: deque[int] = deque()  # outputs that wait for room downstream, oldest first

    @property
    def finished(self) -> bool:
        is_idle = self._inbox.exhausted and not self._due and not self._stash and not self._unsent
        return is_idle and self._downstream.knows_end

    def receive(self, event: Event) -> None:
        self._inbox.receive(event)
        self._downstream.receive(event)
        match event:
            case GradientArrived(microbatch=m) if m in self._stash:
                for older in [k for k in self._stash if k < m]:  # a link keeps order: what was overtaken is lost
                    self._give_up(older)
                self._settle(m)
                self._give_up_hopeless()
            case Expired(microbatch=m) if m in self._stash:
                self._give_up(m)
                self._give_up_hopeless()
            case PeerLost() | PeerFinished():
                for m in [k for k in self._stash if k not in self._unsent]:
                    self._give_up(m)

    def next_action(self) -> Action | None:
        if self._due:
            return self._due.popleft()
        if self._unsent and self._downstream.has_room:
            self._downstream.spend()
            return Send(self._unsent.popleft())
        waiting = self._inbox.head
        if waiting is None:
            return self._end()
        if isinstance(waiting, MarkerArrived):
            if self._downstream.is_lost:  # the snapshot was given up with the neighbour
                self._inbox.take()
                return self.next_action()
            return self._snapshot(waiting.microbatch)
        if not waiting.training:
            return self._evaluate(waiting.microbatch)
        if not self._has_room(waiting):
            return None
        if self._due:  # room was made by giving something up
            return self._due.popleft()
        self._inbox.take()
        return self._start(waiting.microbatch)

    def _end(self) -> Action | None:
        """Nothing waits; if nothing more can come either, the downstream stage is to know, once."""
        if self._inbox.exhausted and not self._unsent and not self._downstream.knows_end and self._downstream.is_there:
            self._downstream.tell_end()
            return EndFeed()
        return None

    def _snapshot(self, m: int) -> Action | None:
        """A marker keeps its place among outputs that wait, and saves the postponed updates of what came before it."""
        if self._unsent or (self._chained and self._stash) or not self._downstream.is_there:
            return None
        self._inbox.take()
        return Snapshot(m)

    @property
    def is_draining(self) -> bool:
        """A marker or an evaluation waits for the postponed updates before it, and everything else behind it."""
        head = self._inbox.head
        return (
            self._chained and bool(self._stash) and (isinstance(head, MarkerArrived) or (head is not None and not head.training))
        )

    def _evaluate(self, m: int) -> Action | None:
        """An evaluation is never dropped, and under chained feedback sees the postponed updates of what came before it."""
        if not self._downstream.has_room or (self._chained and self._stash):
            return None
        self._downstream.spend()
        self._inbox.take()
        return Evaluate(m)

    def _has_room(self, waiting: ActivationArrived) -> bool:
        """Whether the stash and the downstream inbox have room for one more, or it can be made."""
        if self._awaits_gradient(waiting.microbatch) and len(self._stash) >= self._stash_max:
            if self._overflow == "block":
                return False
            self._give_up(next(iter(self._stash)))
        if self._overflow == "block":
            return self._downstream.has_room or (self._downstream.is_lost and len(self._unsent) < self._downstream.window)
        return self._downstream.has_room or self._downstream.window > 0

    def _start(self, m: int) -> Action:
        send = self._downstream.has_room
        if send:
            self._downstream.spend()
        if self._place.is_last:
            self._due += (Backward(m, Source.TRUE, send=self._has_feedback(m) and not self._place.is_first), Update())
        elif not self._has_feedback(m):
            self._due += (Backward(m, Source.SYNTHETIC, send=False), Update())
        else:
            self._stash[m] = None
            if not self._chained:
                self._due += (Backward(m, Source.SYNTHETIC, send=not self._place.is_first, keep=True), Update())
        if not send:
            self._unsent.append(m)
            if len(self._unsent) > (1 if self._overflow == "latest" else self._downstream.window):
                self._drop()
        return Forward(m, send)

    def _drop(self) -> None:
        """The oldest output that waits will not be sent, so no gradient of it can come either."""
        m = self._unsent.popleft()
        self._due.append(Drop(m))
        if m in self._stash:
            self._hopeless.add(m)
            self._give_up_hopeless()

    def _give_up_hopeless(self) -> None:
        """Gives up what has no gradient to wait for, in its turn: what goes up must not overtake what is older."""
        while self._stash and (oldest := next(iter(self._stash))) in self._hopeless:
            self._give_up(oldest)

    def _settle(self, m: int) -> None:
        """The gradient of m is here."""
        del self._stash[m]
        if self._chained:
            self._due += (Backward(m, Source.TRUE, send=not self._place.is_first, keep=True), Update())
        self._due.append(Refine(m))

    def _give_up(self, m: int) -> None:
        """The gradient of m will not come; if the update was waiting for it, the head's guess takes its place."""
        del self._stash[m]
        self._hopeless.discard(m)
        if self._chained:
            self._due += (Backward(m, Source.SYNTHETIC, send=not self._place.is_first, keep=True), Update())
        self._due.append(Evict(m))

    def _has_feedback(self, m: int) -> bool:
        return m % self._feedback_every == 0

    def _awaits_gradient(self, m: int) -> bool:
        return self._has_feedback(m) and not self._place.is_last
