"""The plan: the command and the environment of a worker process. Pure; the same everywhere a worker is started."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def worker_command(coordinator: str, code: Sequence[str] = ()) -> list[str]:
    """The command of a worker that joins the coordinator at that address and ends with the process that started it.

    `code` are files and modules of the user's that it may run.
    """
    command = [sys.executable, "-m", "decoupled", "worker", "--owned", "--join", coordinator]
    return command + [word for where in code for word in ("--code", where)]


def worker_environment(base: Mapping[str, str], threads: int) -> dict[str, str]:
    """The environment of a worker.

    The number of BLAS threads must be set before numpy is imported: four workers with a thread pool each slow one
    another down 8 to 9 times, even idle ones, because idle pools spin. The worker runs this very package, and takes no
    module from the folder that the user happens to be in.
    """
    here = str(Path(__file__).parents[2])
    path = f"{here}:{base['PYTHONPATH']}" if base.get("PYTHONPATH") else here
    return {**base, **dict.fromkeys(BLAS_VARIABLES, str(threads)), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
