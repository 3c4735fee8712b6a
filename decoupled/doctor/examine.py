"""Examining: what is measured, in the order in which a reader wants to hear of it."""

import ipaddress
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import zmq

from decoupled import resources
from decoupled.doctor import machine, ports, probes, reachability, status_client
from decoupled.doctor.finding import Finding
from decoupled.errors import DecoupledError, UsageError
from decoupled.launch.plan import BLAS_VARIABLES
from decoupled.launch.worker_process import inbox_of
from decoupled.runtime.versions import versions
from decoupled.transport.address import host_and_port
from decoupled.transport.keys import Keys, of_worker

LOOKS = 16  # at workers' inboxes, at a time


def this_machine(workers: int, threads: int) -> Iterator[Finding]:
    """Whether so many workers with so many threads each can run here."""
    yield machine.versions(versions(), zmq.has("curve"))
    yield machine.cores(resources.allowed_cores(), resources.cpu_quota(), workers, threads)
    settings = {name: os.environ[name] for name in BLAS_VARIABLES if name in os.environ}
    yield machine.blas(probes.pools(), threads, settings)
    yield machine.memory(probes.available_memory(), resources.memory_limit(), workers)
    yield machine.files(*probes.open_files(), workers)
    yield machine.shared_memory(probes.shared_memory())
    yield machine.kernels(*probes.kernels())
    own = platform.node()
    yield machine.name(own, probes.numbers(own), probes.outward())


def run_here(used: Mapping[int, tuple[str, str]]) -> Iterator[Finding]:
    """Whether a whole run can be here, with its coordinator.

    `used` are ports on loopback: what each is for, and the option that chooses another.
    """
    temp, runs = probes.temp_folder(), Path("runs").absolute()
    yield machine.temp(temp, probes.socket_problem(temp), probes.free(Path(temp)))
    yield machine.runs(runs, probes.folder_problem(runs), probes.free(runs))
    for number, (what, instead) in used.items():
        problem = ports.problem("127.0.0.1", number)
        yield machine.port(number, what, problem, ports.holder(number) if problem else "", instead)


def way_to(coordinator: str, host: str, keys: Path | None, insecure: bool) -> Iterator[Finding]:
    """Whether a worker on this host, started with these options, could join that coordinator and reach the others.

    Raises UsageError when what is given as the coordinator's address is none.
    """
    name, port = ("", "") if coordinator.startswith("ipc://") else host_and_port(coordinator)
    if coordinator == "ipc://" or (not coordinator.startswith("ipc://") and (not name or port in ("*", "0"))):
        raise UsageError(f"{coordinator} is not where a coordinator can be. Give an address like tcp://10.0.0.1:5555.")
    return _steps(coordinator, name, port, host, keys, insecure)


def _steps(coordinator: str, name: str, port: str, host: str, folder: Path | None, insecure: bool) -> Iterator[Finding]:
    """One step after the other, as a worker takes them, to the first without which there is no other."""
    try:
        keys = of_worker(folder) if folder is not None else None
    except DecoupledError as error:
        yield Finding("keys", "fail", str(error))
        return
    number = ""
    if name:
        began = time.monotonic()
        found = probes.numbers(name, socket.AF_INET6 if "[" in coordinator else socket.AF_INET)  # as the link will
        if found != [name]:
            yield reachability.named(name, found, time.monotonic() - began)
        if not found:
            return
        number = found[0]
    yield _inbox(coordinator, host, keys, insecure, probes.outward(number) if number else "")
    talk = status_client.ask(coordinator, keys)
    if talk.answer is None:
        yield reachability.met(coordinator, talk, probes.reach(f"tcp://{number}:{port}" if name else coordinator))
        return
    yield reachability.met(coordinator, talk, "open")
    yield reachability.versions(versions(), talk.answer)
    yield reachability.clocks(talk.ahead_ns, talk.trip_ns)
    scheme = coordinator.partition(":")[0]
    is_far = number != "" and not ipaddress.ip_address(number).is_loopback
    workers = [worker for worker in talk.answer.workers if worker.address.startswith(f"{scheme}:")]
    with ThreadPoolExecutor(LOOKS) as looks:
        reaches = list(looks.map(lambda worker: probes.reach(worker.address), workers))
    yield reachability.inboxes(list(zip(workers, reaches, strict=True)), is_far)


def _inbox(coordinator: str, host: str, keys: Keys | None, insecure: bool, outward: str) -> Finding:
    """Tries what a worker does first."""
    try:
        where = inbox_of("doctor", coordinator, host, insecure, keys is not None)
        return reachability.inbox(status_client.can_listen(where, keys), "", "")
    except DecoupledError as error:
        return reachability.inbox("", str(error), "" if outward in probes.numbers(host) else outward)
