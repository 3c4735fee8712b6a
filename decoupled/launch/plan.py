"""The plan: the command and the environment of a worker process. Pure; the same everywhere a worker is started."""

import sys
from collections.abc import Mapping

ANSWER_S = 60  # for a coordinator on the same machine to have all its workers and to say so
BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def worker_command(coordinator: str) -> list[str]:
    """The command of a worker that joins the coordinator at that address, and does not outlive one that never answers."""
    return [sys.executable, "-m", "decoupled", "worker", "--join", coordinator, "--wait-s", str(ANSWER_S)]


def worker_environment(base: Mapping[str, str], threads: int) -> dict[str, str]:
    """The environment of a worker.

    The number of BLAS threads must be set before numpy is imported: four workers with a thread pool each slow one
    another down 8 to 9 times, even idle ones, because idle pools spin. And glibc gives freed arrays of a megabyte back to
    the kernel, so that the next one costs more in page faults than in arithmetic, unless it is told to keep them.
    """
    blas = dict.fromkeys(BLAS_VARIABLES, str(threads))
    malloc = {
        "MALLOC_MMAP_THRESHOLD_": str(1 << 26),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
        "MALLOC_TOP_PAD_": str(1 << 24),
    }
    return {**base, **blas, **malloc}
