"""The clock of all spans: it never jumps, and reads about the same on every host whose wall clock is set."""

import time

_EPOCH_NS = time.time_ns() - time.monotonic_ns()


def now_ns() -> int:
    """Nanoseconds since 1970 by this host's wall clock as it was at the start of the process, then monotonic."""
    return _EPOCH_NS + time.monotonic_ns()
