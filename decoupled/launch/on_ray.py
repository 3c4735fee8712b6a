"""Workers on Ray: a cluster's engine places them, and restarts those that crash.

The coordinator stays in this process. Ray tells each worker where that is, and its keys; all else goes over ZeroMQ.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from types import TracebackType
from typing import Any

from decoupled.errors import RunFailed, UsageError
from decoupled.launch.interface import Ended, Launcher
from decoupled.launch.plan import BLAS_VARIABLES
from decoupled.runtime.membership import WorkerInfo
from decoupled.transport.address import listening
from decoupled.transport.keys import passing
from decoupled.version import __version__

PATIENCE_S = 3.0  # for workers to end by themselves before they are killed
SETTLE_S = 2.0  # for Ray to know of CPUs that another run has just left
RESTARTS_MAX = 100  # of a worker by Ray, then the run ends: one that never gets as far as the coordinator is not counted there
REACH_S = 5.0  # to connect to the cluster, which Ray itself tries for two minutes
ALREADY_TOLD = "infinite retries remaining|A worker died or was killed"  # by the run's own incidents, in fewer words
LOG = logging.getLogger(__name__)  # goes to stderr unless the caller has other plans


class RayWorkers:
    """Workers, a Workers, on the nodes of a Ray cluster of which this machine is one."""

    are_kept = False
    are_started_here = False  # Ray restarts them, when it has room

    def __init__(self, address: str, count: int, threads: int, code: Sequence[str] = ()) -> None:
        """`address` is the cluster's, as HOST:PORT, or auto. Raises UsageError when Ray is not installed."""
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ALREADY_TOLD)  # Ray looks at it when it is imported
        try:
            import ray  # noqa: F401
        except ImportError:
            raise UsageError("--launcher ray needs a package: pip install 'decoupled-trainer[ray]'") from None
        self._cluster, self._threads, self._code = address, threads, tuple(code)
        self.keys, self._own = passing(count)
        self._actors: dict[str, Any] = {}  # the workers, by their public keys
        self._work: dict[str, Any] = {}  # what each of them is at, a reference of Ray's

    def __enter__(self) -> "RayWorkers":
        import ray

        self._is_shared = ray.is_initialized()  # with a script that uses the cluster itself
        if not self._is_shared:
            _connect(self._cluster)
        try:
            self._refuse_too_small()
            self.address = listening(f"tcp://{ray.util.get_node_ip_address()}:*", insecure=False, has_keys=True)
        except BaseException:
            self._leave()
            raise
        return self

    def _refuse_too_small(self) -> None:
        """For a worker that has no room Ray would wait without end."""
        import ray

        count, cpus = len(self._own), [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
        room = sum(int(cpu // self._threads) for cpu in cpus)
        each = "a CPU" if self._threads == 1 else f"{self._threads} CPUs"
        need = f"This run needs {count} workers with {each} each"
        if room < count:
            raise UsageError(
                f"{need}, and the Ray cluster has {sum(cpus):g} CPUs on {len(cpus)} nodes, room for {room}. "
                "Add a node with `ray start --address`, or give fewer --workers."
            )
        deadline = time.monotonic() + SETTLE_S
        while (free := ray.available_resources().get("CPU", 0.0)) < count * self._threads and time.monotonic() < deadline:
            time.sleep(0.1)
        if free < count * self._threads:
            LOG.warning("warning: %s, and others use all but %g of the Ray cluster's %g CPUs. Waiting.", need, free, sum(cpus))

    def start(self, coordinator: str, count: int) -> None:
        """Fills the places of those that have ended. One that crashes or hangs, or loses its node, keeps its: Ray restarts it."""
        for keys in self._own:
            if keys.public not in self._actors:
                actor = self._actors[keys.public] = self._kind.remote()
                self._work[keys.public] = actor.work.remote(
                    __version__, coordinator, keys.public, keys.secret, keys.known, self._code
                )

    @cached_property
    def _kind(self) -> Any:
        """A worker as something that Ray places, runs and restarts."""
        import ray

        return ray.remote(
            num_cpus=self._threads,
            scheduling_strategy="SPREAD",
            max_restarts=RESTARTS_MAX,
            max_task_retries=-1,
            runtime_env={"env_vars": dict.fromkeys(BLAS_VARIABLES, str(self._threads))},
        )(_worker())

    def kill(self, worker: WorkerInfo) -> None:
        import ray

        if worker.key in self._actors:
            ray.kill(self._actors[worker.key], no_restart=False)

    def take_ended(self) -> Sequence[Ended]:
        import ray

        found = []
        done, _ = ray.wait(list(self._work.values()), num_returns=len(self._work), timeout=0)
        for public in [public for public, work in self._work.items() if work in done]:
            del self._actors[public]
            try:
                host, pid, how = ray.get(self._work.pop(public))
            except ray.exceptions.RayError as error:  # of its own accord Ray has tried again where that could help
                raise RunFailed(f"Ray has given a worker up: {_reason(error)}") from None
            found.append(Ended(host, pid, how or "it was told to stop", bool(how)))
        return found

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        import ray

        try:
            work = list(self._work.values())
            ray.wait(work, num_returns=len(work), timeout=PATIENCE_S if error is None else PATIENCE_S / 6)
        finally:
            for actor in self._actors.values():
                with suppress(ray.exceptions.RayError):  # of a cluster that has gone
                    ray.kill(actor)
            self._leave()

    def _leave(self) -> None:
        import ray

        if not self._is_shared:
            ray.shutdown()


def on_ray(address: str) -> Launcher:
    """Workers that the Ray cluster at that address, which is auto or HOST:PORT, places, runs and restarts."""
    return partial(RayWorkers, address)


def _connect(address: str) -> None:
    """Joins a cluster that runs, and never starts one. Raises UsageError or RunFailed."""
    import ray

    address = (os.environ.get("RAY_ADDRESS") if address == "auto" else None) or address
    none = "Start one with `ray start --head`, add machines with `ray start --address`, and run this on one of them."
    if address != "auto":
        _reach(address, none)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, configure_logging=False, log_to_driver=False)
    except ConnectionError:
        raise RunFailed(f"No Ray cluster was found ({address}). {none}") from None
    except (RuntimeError, ValueError) as error:  # another version of Ray or Python, or none that runs on this machine
        raise RunFailed(f"The Ray cluster cannot be used: {' '.join(str(error).split())}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # which Ray has taken


def _reason(error: Exception) -> str:
    """What Ray's error comes to: of a failure on the node the last line, and else the first sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if any("Traceback" in line for line in lines) else lines[0]


def _reach(address: str, hint: str) -> None:
    """Raises UsageError when that is no address, and RunFailed when nobody listens there."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        raise UsageError(f"{address} is no address of a Ray cluster. Give --ray-address as HOST:PORT, such as 10.0.0.1:6379.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise RunFailed(f"No Ray cluster was found: {address} cannot be reached ({error}). {hint}") from None


def _worker() -> type:
    """What Ray runs. It is sent to the node as code, for whether decoupled is there shows only then."""

    class DecoupledWorker:
        def work(
            self, version: str, coordinator: str, public: str, secret: str, known: tuple[str, ...], code: Sequence[str]
        ) -> tuple[str, int, str]:
            """Works until the run is over; says on which host and in which process, and why it did not go well."""
            import os
            import platform

            host, pid = platform.node(), os.getpid()
            try:
                from decoupled.version import __version__ as own

                if own != version:
                    return host, pid, f"{host} has decoupled {own}, and this is {version}; install the same"
                from decoupled.errors import DecoupledError
                from decoupled.launch.worker_process import work
                from decoupled.transport.keys import Keys
                from decoupled.user_code import allow_all
            except ImportError as error:
                return host, pid, f"{host} has no decoupled: {error}; install there what is here, decoupled-trainer {version}"
            import ray

            try:
                allow_all(code)
                work(coordinator, ray.util.get_node_ip_address(), False, Keys(public, secret, known), print)
            except DecoupledError as error:
                return host, pid, str(error)
            return host, pid, ""

    return DecoupledWorker
