"""The pace of a link: how many microbatches may be on their way or wait in the next inbox, so that it is busy and no more.

A queue longer than the link needs ages every gradient that comes back. As TCP Vegas does (Brakmo and Peterson 1995), the sender
finds the length while running: by how many wait there when the neighbour takes one, and without any clock.
"""

SPARE = 1  # wait there at the least while the pace stays as it is


class Pace:
    """The limit, between 1 and the window. It looks at one round at a time, which is as many credits as the limit."""

    def __init__(self, window: int) -> None:
        self.limit = self._window = window
        self._begin()

    def _begin(self) -> None:
        self._least, self._credits, self._was_full = self._window, 0, False

    def credited(self, count: int, waiting: int, in_flight: int) -> None:
        """`count` of `in_flight` were taken, and `waiting` were left in the inbox."""
        self._least, self._credits = min(self._least, waiting), self._credits + count
        self._was_full = self._was_full or in_flight >= self.limit
        if self._credits >= self.limit:
            self._decide()
            self._begin()

    def _decide(self) -> None:
        if self._least > SPARE:  # so many were never needed
            self.limit = max(self.limit - (self._least - SPARE), 1)
        elif self._least == 0 and self._was_full:  # it ran dry although all that may be sent was
            self.limit = min(self.limit + 1, self._window)
