"""The plan of a worker process."""

import subprocess
import sys

from decoupled.launch.plan import worker_command, worker_environment


def test_a_worker_is_told_where_to_join() -> None:
    command = worker_command("ipc:///tmp/x")

    assert command[:4] == [sys.executable, "-m", "decoupled", "worker"]
    assert command[command.index("--join") + 1] == "ipc:///tmp/x"


def test_the_number_of_blas_threads_is_set_before_numpy_is_imported() -> None:
    """Asked of numpy's own BLAS in a process with that environment."""
    program = "import numpy, threadpoolctl; print([i['num_threads'] for i in threadpoolctl.threadpool_info()])"
    environment = worker_environment({"PATH": "/usr/bin", "OPENBLAS_NUM_THREADS": "7"}, threads=1)

    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout

    assert set(said.strip("[]\n").split(", ")) == {"1"}


def test_the_rest_of_the_environment_is_kept() -> None:
    assert worker_environment({"HOME": "/home/me"}, 2)["HOME"] == "/home/me"
