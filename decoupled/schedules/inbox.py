"""The two things every schedule keeps about its neighbours: what has arrived from above, and what fits below."""

from collections import deque

from decoupled.schedules.events import ActivationArrived, CreditGranted, Event, FeedEnded, PeerJoined, Side


class Inbox:
    """Activations in the order they came, each once, and whether more can come."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._waiting: deque[ActivationArrived] = deque()
        self._newest = -1

    def receive(self, event: Event) -> None:
        match event:
            case ActivationArrived(microbatch=m) if m > self._newest:  # the link keeps order: an older number is a copy
                self._newest = m
                self._waiting.append(event)
            case FeedEnded(last=last):
                self._last = last

    @property
    def head(self) -> ActivationArrived | None:
        return self._waiting[0] if self._waiting else None

    def take(self) -> ActivationArrived:
        return self._waiting.popleft()

    @property
    def exhausted(self) -> bool:
        """All that will ever come has come and been taken."""
        return self._last is not None and self._newest >= self._last and not self._waiting


class Credit:
    """How many more microbatches the downstream inbox has room for; a stage without a downstream never runs out."""

    def __init__(self, unlimited: bool) -> None:
        self._unlimited = unlimited
        self.window = 0
        self.free = 0

    def receive(self, event: Event) -> None:
        match event:
            case PeerJoined(side=Side.DOWNSTREAM, window=window):
                self.window = self.free = window  # a fresh neighbour has a fresh inbox: reset, never add
            case CreditGranted(count=count):
                self.free = min(self.free + count, self.window)

    @property
    def available(self) -> bool:
        return self._unlimited or self.free > 0

    def spend(self) -> None:
        if not self._unlimited:
            self.free -= 1
