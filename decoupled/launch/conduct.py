"""Conducting: drives a coordinator from the arrival of its workers to the report, with or without workers of its own."""

import logging
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from decoupled.checkpoint import Checkpoint, Store
from decoupled.config import Fault
from decoupled.errors import RunFailed
from decoupled.launch.local import LocalWorkers
from decoupled.runtime.blueprint import Blueprint
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.process import limits
from decoupled.runtime.report import Report
from decoupled.runtime.source import FIRST
from decoupled.telemetry.board import Progress
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ

POLL_S = 0.05
LOG = logging.getLogger(__name__)  # goes to stderr unless the caller has other plans


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears of a run while it goes on."""

    progress: Callable[[Progress], None]
    waiting: Callable[[str, int, int], None]  # where workers are awaited, how many have come, and of how many
    warning: Callable[[str], None]
    faults: Callable[[], Sequence[Fault]] = tuple  # asked what it would like to see happen


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where workers come that were started by hand; with keys, only known ones get in. They may be kept for another run."""

    address: str
    keys: Keys | None = None
    keeps_workers: bool = False


def conduct(
    blueprint: Blueprint, store: Store, resume: Checkpoint | None, audience: Audience, meeting: Meeting | None = None
) -> Report:
    """Runs a blueprint over worker processes: its own, or those that come to the meeting.

    Raises RunFailed when it cannot go on or the address is taken. Whatever happens, no process of its own is left.
    """
    run = blueprint.run
    with ExitStack() as stack:
        stack.callback(store.finish)
        workers = stack.enter_context(LocalWorkers(len(blueprint.stages), run.runtime.threads)) if meeting is None else None
        keys = meeting.keys if meeting is not None else None
        transport = ZeroMQ(limits(run.link), keys, LOG.warning, own=(FIRST,))
        stack.callback(transport.close)
        where = transport.bind(workers.address if workers is not None else meeting.address if meeting is not None else "")
        members = (keys.public, *keys.known) if keys is not None else ()
        transport.admit(members)
        coordinator = Coordinator(blueprint, transport, store, resume, members)
        keeps_workers = meeting is not None and meeting.keeps_workers
        stack.callback(coordinator.stop, keeps_workers)  # runs first, whether the run ended well or not
        next_report_s, joined, told = 0.0, -1, 0
        while not coordinator.is_done:
            if workers is not None:
                _tend(workers, coordinator)
            coordinator.step(POLL_S)
            for fault in audience.faults():
                coordinator.crew.inflict(fault)
            if len(coordinator.crew.rendezvous.taken) != joined:
                joined = len(coordinator.crew.rendezvous.taken)
                audience.waiting(where, joined, len(blueprint.stages))
            is_news = len(coordinator.board.incidents) != told
            if coordinator.is_training and (is_news or coordinator.seconds >= next_report_s):
                next_report_s, told = coordinator.seconds + run.runtime.report_every_s, len(coordinator.board.incidents)
                audience.progress(coordinator.progress())
        audience.progress(coordinator.progress())
        return coordinator.report()


def _tend(workers: LocalWorkers, coordinator: Coordinator) -> None:
    """Tells the coordinator which workers have ended, and does what it wants done about them."""
    while coordinator.crew.condemned:
        workers.kill(coordinator.crew.condemned.pop())
    for ended in workers.take_ended():
        if ended.is_failure and not coordinator.is_training:  # the next one would fail as well
            raise RunFailed(f"Worker process {ended.pid} died ({ended.how}), so the run was stopped.")
        coordinator.crew.process_ended(platform.node(), ended.pid, ended.how)
    for _ in range(coordinator.take_due_starts()):
        workers.start()
