"""The two links of a stage as pure state: what has come from above, and what fits below.

Each exists once. The schedule decides by it, the session sends by it, and the coordinator's feed, which is the first
stage's upstream, has a `DownstreamLink` like any stage's. A link keeps order, can break and be made again; whoever is at
its other end then may be another worker, or the same one with some of its inbox full.
"""

from collections import deque
from typing import Literal, TypeAlias

from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    FeedEnded,
    FenceArrived,
    MarkerArrived,
    PeerFinished,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.pace import Pace

Waiting: TypeAlias = ActivationArrived | MarkerArrived | FenceArrived
Overflow: TypeAlias = Literal["block", "drop-oldest", "latest"]


def window_under(overflow: Overflow, window: int) -> int:
    """How many microbatches an upstream stage may have in an inbox of `window`.

    With `latest` one alone: the queue is the upstream's own, or what it passes on would be as old as the inbox is long.
    """
    return 1 if overflow == "latest" else window


def credits_together(window: int) -> int:
    """How many credits go in one message. One each wakes the sender for nothing; many at once look as if the inbox ran dry."""
    return 2 if window >= 8 else 1


class UpstreamLink:
    """The inbox: activations, markers and fences in the order they came, each activation once, and whether more can come."""

    def __init__(self, is_paced: bool = False) -> None:
        """With `is_paced` the upstream sends no more ahead than keeps this stage busy, and waits for credit sooner."""
        self._is_paced = is_paced
        self.peer = ""  # the link to answer to
        self.number = (-1, -1)  # the upstream's generation, and which of its links this is
        self.owed = 0  # taken from the inbox, and the upstream does not know yet
        self._waiting: deque[Waiting] = deque()
        self._newest = -1
        self._has_ended = False

    def adopt(self, peer: str, number: tuple[int, int]) -> bool:
        """Takes a new link in place of the one before; one that is older than that is refused."""
        if number < self.number:
            return False
        self.peer, self.number, self.owed = peer, number, 0
        return True

    def is_new(self, microbatch: int) -> bool:
        """Whether that microbatch has not come before. A link keeps order, so an older number is a copy."""
        return microbatch > self._newest

    def receive(self, event: Event) -> None:
        match event:
            case ActivationArrived(microbatch=m) if self.is_new(m):
                self._newest = m
                self._waiting.append(event)
            case ActivationArrived():
                self.owed += 1  # a copy takes no room
            case MarkerArrived() | FenceArrived():
                self._waiting.append(event)
            case FeedEnded():
                self._has_ended = True

    @property
    def head(self) -> Waiting | None:
        return self._waiting[0] if self._waiting else None

    def take(self) -> None:
        """Removes the head; a microbatch leaves room for another."""
        self.owed += isinstance(self._waiting.popleft(), ActivationArrived)

    def grant(self, together: int) -> CreditGranted | None:
        """The credit that the upstream is to be told of now, if any; a paced one at once where nothing waits."""
        if not self.owed:
            return None
        waiting = len(self.waiting)
        if self.owed < together and (waiting or not self._is_paced):
            return None
        granted, self.owed = CreditGranted(self.owed, waiting), 0
        return granted

    @property
    def waiting(self) -> list[int]:
        """The microbatches in the inbox, oldest first."""
        return [event.microbatch for event in self._waiting if isinstance(event, ActivationArrived)]

    @property
    def exhausted(self) -> bool:
        """All that will ever come has come and been taken."""
        return self._has_ended and not self._waiting


class DownstreamLink:
    """The neighbour below: whether it is there, what fits its inbox, what waits to be sent, and what it was told.

    A stage without one never runs out of room, and has nobody to tell.
    """

    def __init__(self, exists: bool = True, is_paced: bool = False) -> None:
        """With `is_paced` no more is sent ahead than keeps the neighbour busy."""
        self.exists, self.is_lost = exists, False
        self.pace = Pace(0) if is_paced else None
        self.window = 0  # microbatches that its inbox holds
        self.room = 0  # microbatches that fit it now
        self.unsent: deque[int] = deque()  # outputs that wait for room, oldest first
        self.asked = -1  # the fence that is still to be answered
        self._knows_end = self._has_finished = not exists

    def receive(self, event: Event) -> None:
        match event:
            case PeerJoined(window=window, room=room):
                # A neighbour that joined again says what fits it now, and knows nothing: reset, never add.
                self.window, self.room = window, window if room is None else min(room, window)
                self.is_lost = self._knows_end = self._has_finished = False
                if self.pace is not None:
                    self.pace = Pace(self.window)
            case PeerLost():
                self.is_lost, self.room, self._knows_end, self.asked = True, 0, False, -1
            case PeerFinished():
                self._has_finished = True
            case CreditGranted(count=count, waiting=waiting) if not self.is_lost:
                if self.pace is not None:
                    self.pace.credited(count, waiting, self.window - self.room)
                self.room = min(self.room + count, self.window)

    def answered(self, fence: int) -> None:
        """A fence was answered; one that was sent after it is still to be."""
        if fence >= self.asked:
            self.asked = -1

    @property
    def has_room(self) -> bool:
        return not self.exists or (self.room > 0 and (self.pace is None or self.window - self.room < self.pace.limit))

    def spend(self) -> None:
        """One microbatch is sent."""
        self.room -= self.exists

    @property
    def is_there(self) -> bool:
        """It has joined and is not lost, or there is none to miss."""
        return not self.exists or (self.window > 0 and not self.is_lost)

    @property
    def knows_end(self) -> bool:
        """It has been told that all has been sent, or needs it no more."""
        return self._knows_end or self._has_finished

    def tell_end(self) -> None:
        self._knows_end = True
