"""A log that strangers cannot flood."""

import math
import time
from collections.abc import Callable


class RateLimitedLog:
    """Says at most one line in `every_s`; the next one then tells how many were left out."""

    def __init__(self, say: Callable[[str], None], every_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._every_s, self._clock = say, every_s, clock
        self._line, self._unsaid, self._next_s = "", 0, -math.inf

    def add(self, line: str) -> None:
        """Says this line, or keeps it until something may be said again."""
        self._line, self._unsaid = line, self._unsaid + 1
        self.tell()

    def tell(self) -> None:
        """Says the last line that is unsaid, if it may be said by now."""
        if self._unsaid and self._clock() >= self._next_s:
            self._say(self._line + (f" ({self._unsaid - 1} more since the last line)" if self._unsaid > 1 else ""))
            self._unsaid, self._next_s = 0, self._clock() + self._every_s
