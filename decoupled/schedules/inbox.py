"""The two things every schedule keeps about its neighbours: what has arrived from above, and what fits below."""

from collections import deque

from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    FeedEnded,
    MarkerArrived,
    PeerFinished,
    PeerJoined,
    PeerLost,
)


class Inbox:
    """Activations and markers in the order they came, each activation once, and whether more can come."""

    def __init__(self) -> None:
        self._waiting: deque[ActivationArrived | MarkerArrived] = deque()
        self._newest = -1
        self._has_ended = False

    def receive(self, event: Event) -> None:
        match event:
            case ActivationArrived(microbatch=m) if m > self._newest:  # the link keeps order: an older number is a copy
                self._newest = m
                self._waiting.append(event)
            case MarkerArrived():
                self._waiting.append(event)
            case FeedEnded():
                self._has_ended = True

    @property
    def head(self) -> ActivationArrived | MarkerArrived | None:
        return self._waiting[0] if self._waiting else None

    def take(self) -> None:
        self._waiting.popleft()

    @property
    def exhausted(self) -> bool:
        """All that will ever come has come and been taken."""
        return self._has_ended and not self._waiting


class Downstream:
    """The neighbour below: whether it is there, how many more microbatches its inbox has room for, what it was told.

    A stage without one never runs out of room, and has nobody to tell.
    """

    def __init__(self, is_there: bool) -> None:
        self._exists = is_there
        self.is_lost = False
        self.window = 0
        self._free = 0
        self._knows_end = self._has_finished = not is_there

    def receive(self, event: Event) -> None:
        match event:
            case PeerJoined(window=window, room=room):
                # A neighbour that joined again says what fits it now, and knows nothing: reset, never add.
                self.window, self._free = window, window if room is None else room
                self.is_lost = self._knows_end = self._has_finished = False
            case PeerLost():
                self.is_lost, self._free, self._knows_end = True, 0, False
            case PeerFinished():
                self._has_finished = True
            case CreditGranted(count=count):
                self._free = min(self._free + count, self.window) if not self.is_lost else 0

    @property
    def has_room(self) -> bool:
        return not self._exists or self._free > 0

    def spend(self) -> None:
        """One microbatch is sent."""
        if self._exists:
            self._free -= 1

    @property
    def knows_end(self) -> bool:
        """It has been told that all has been sent, or needs it no more."""
        return self._knows_end or self._has_finished

    @property
    def is_there(self) -> bool:
        """It has joined and is not lost, or there is none to miss."""
        return not self._exists or (self.window > 0 and not self.is_lost)

    def tell_end(self) -> None:
        self._knows_end = True
