"""What a process that takes part in a run asks of the libraries under it."""

import contextlib
import ctypes

from threadpoolctl import threadpool_limits

from decoupled.config import LinkOptions
from decoupled.transport.interface import Limits

PR_SET_TIMERSLACK = 29  # of prctl(2)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)


def tune(threads: int) -> threadpool_limits:
    """Sets the number of threads of the BLAS, and of PyTorch where it is loaded, and keeps freed memory.

    The result, as a context, gives the threads back.

    glibc returns freed arrays of a megabyte to the kernel, so that the next one costs more in page faults than in
    arithmetic, unless it is told to keep them. Elsewhere than under glibc nothing is asked.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in ((M_MMAP_THRESHOLD, 1 << 26), (M_TRIM_THRESHOLD, 1 << 28), (M_TOP_PAD, 1 << 24)):
            mallopt(option, size)
    return threadpool_limits(threads)


def wake_on_time() -> None:
    """Has sleeps end when they should. Linux lets them last up to 50 us longer, to save power; elsewhere nothing is asked."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)


def limits(link: LinkOptions) -> Limits:
    """What the run's links may hold, in the transport's terms."""
    return Limits(link.high_water_mark, link.message_bytes_max, link.silence_s)
