"""Drives a coordinator from the arrival of its workers to the report, with or without workers of its own."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from decoupled.checkpoint import Checkpoint, Store
from decoupled.config import Fault
from decoupled.errors import RunFailed
from decoupled.launch.interface import Workers
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.faults import RegularKills
from decoupled.runtime.feed_link import FEED
from decoupled.runtime.process import limits
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import ResolvedRun
from decoupled.runtime.sizes import check_messages_fit
from decoupled.telemetry.metrics import Progress
from decoupled.transport.zeromq import ZeroMQ

POLL_S = 0.05
TEND_EVERY_S = 0.05
LOG = logging.getLogger(__name__)  # goes to stderr unless the caller has other plans


def ignore(*heard: object) -> None:
    """Hears of a run that nobody watches."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Who hears of a run while it goes on."""

    progress: Callable[[Progress], None] = ignore
    waiting: Callable[[str, int, int], None] = ignore  # where workers are awaited, how many have come, and of how many
    warning: Callable[[str], None] = ignore
    faults: Callable[[], Sequence[Fault]] = tuple  # asked what it would like to see happen


def run_coordinator(
    resolved: ResolvedRun, store: Store, resume: Checkpoint | None, callbacks: Callbacks, workers: Workers
) -> Report:
    """Runs a resolved run over worker processes.

    Raises UsageError when its messages do not fit its links, RunFailed when it cannot go on or the address is taken. Whatever
    happens, no worker is left that it has started.
    """
    run = resolved.run
    check_messages_fit(resolved)
    if workers.are_started_here:
        resolved.require_devices()
    with ExitStack() as stack:
        stack.callback(store.finish)
        stack.enter_context(workers)
        keys = workers.keys
        transport = ZeroMQ(limits(run.link), keys, LOG.warning, own=(FEED,))
        stack.callback(transport.close)
        where = transport.bind(workers.address)
        members = (keys.public, *keys.known) if keys is not None else ()
        transport.admit(members)
        coordinator = Coordinator(resolved, transport, store, resume, members, starts_workers=workers.are_started_here)
        stack.push(lambda kind, *_: coordinator.stop(is_over=kind is None, are_kept=workers.are_kept))  # runs first
        workers.start(where, len(resolved.stages))
        kills = RegularKills(run.emulation.kill_every_s, len(resolved.stages))
        next_report_s, joined, told, tended_at = 0.0, -1, 0, 0.0
        while not coordinator.is_done:
            if time.monotonic() - tended_at > TEND_EVERY_S:
                tended_at = time.monotonic()
                _tend(workers, coordinator, where)
            coordinator.step(POLL_S)
            for fault in (*callbacks.faults(), *kills.due(coordinator.seconds, coordinator.group.members.are_all_ready)):
                coordinator.group.inject(fault)
            if len(coordinator.group.members.taken) != joined:
                joined = len(coordinator.group.members.taken)
                callbacks.waiting(where, joined, len(resolved.stages))
            is_news = len(coordinator.metrics.incidents) != told
            if coordinator.is_training and (is_news or coordinator.seconds >= next_report_s):
                next_report_s, told = coordinator.seconds + run.runtime.report_every_s, len(coordinator.metrics.incidents)
                callbacks.progress(coordinator.progress())
        callbacks.progress(coordinator.progress())
        return coordinator.report()


def _tend(workers: Workers, coordinator: Coordinator, where: str) -> None:
    """Tells the coordinator which workers have ended, and does what it wants done about them."""
    while coordinator.group.to_kill:
        workers.kill(coordinator.group.to_kill.pop())
    ended_now = workers.take_ended()
    if ended_now:
        coordinator.step(POLL_S)  # to hear first what they have said of the reason
    for ended in ended_now:
        if ended.is_failure and not coordinator.is_training:  # the next one would fail as well
            raise RunFailed(f"Worker process {ended.pid} died ({ended.how}), so the run was stopped.")
        coordinator.group.process_ended(ended.host, ended.pid, ended.how)
    workers.start(where, coordinator.take_due_starts())
