"""Wires carry one message after the other; a way is what a message takes from one node to the next, in order."""

import math
from collections.abc import Callable, Iterable


class Wire:
    """A queue: what is sent faster than it carries waits."""

    def __init__(self, bandwidth: float) -> None:
        self.bandwidth = bandwidth
        self.busy = 0.0  # time that it spent carrying
        self._free_at = 0.0

    def carry(self, size: float, now: float) -> float:
        """When the last of a message that is sent now is through."""
        takes = size / self.bandwidth
        self.busy += takes
        self._free_at = max(self._free_at, now) + takes
        return self._free_at

    def clear(self, now: float) -> None:
        """What is on it is lost."""
        self.busy -= max(self._free_at - now, 0.0)
        self._free_at = min(self._free_at, now)


class Way:
    """Through some wires and then a latency. Nothing overtakes what was sent before it."""

    def __init__(self, wires: Iterable[Wire], latency: float, jitter: Callable[[], float] | None = None) -> None:
        self._wires = [wire for wire in wires if wire.bandwidth < math.inf]
        self._latency, self._jitter = latency, jitter
        self._newest = -math.inf  # arrival so far

    def arrival(self, size: float, now: float) -> float:
        """When a message that is sent now arrives."""
        for wire in self._wires:
            now = wire.carry(size, now)
        now += self._latency
        if self._jitter is not None:
            now += self._jitter()
        if now > self._newest:
            self._newest = now
        return self._newest

    def clear(self, now: float) -> None:
        """What is under way is lost."""
        self._newest = -math.inf
        for wire in self._wires:
            wire.clear(now)
