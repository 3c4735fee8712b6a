"""What the last stage publishes, on its way up a link: one is under way at a time, and the newest replaces the one that waits.

So a stage that is stopped, or behind a slow link, finds one when it comes back, however many were published meanwhile. Pure.
"""

from decoupled.tensors import Tensors


class Publication:
    """The newest, and whether it may go now."""

    def __init__(self) -> None:
        self._newest: Tensors = ()
        self._is_under_way = False  # the stage before has not said yet that it has taken one over
        self._is_waiting = False

    def offer(self, newest: Tensors) -> Tensors:
        """What is to be sent now: this one, or nothing yet. Nothing follows from nothing."""
        self._newest, self._is_waiting = newest, bool(newest) and self._is_under_way
        if self._is_waiting or not newest:
            return ()
        self._is_under_way = True
        return newest

    def taken(self) -> Tensors:
        """What is to be sent now that the stage before has taken over the one that was under way."""
        self._is_under_way = False
        return self.offer(self._newest) if self._is_waiting else ()

    def renewed(self) -> Tensors:
        """What is to be sent by a new link: whoever is there may have none, and nothing is under way to it."""
        self._is_under_way = False
        return self.offer(self._newest)
