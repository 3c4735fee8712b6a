"""Conducting: drives a coordinator from the arrival of its workers to the report, with or without workers of its own."""

import logging
from collections.abc import Callable
from contextlib import ExitStack

from decoupled.launch.local import LocalWorkers
from decoupled.runtime.blueprint import Blueprint
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.process import limits
from decoupled.runtime.report import Report
from decoupled.telemetry.board import Progress
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ

POLL_S = 0.05
LOG = logging.getLogger(__name__)  # goes to stderr unless the caller has other plans


def conduct(
    blueprint: Blueprint,
    on_progress: Callable[[Progress], None],
    address: str | None = None,
    on_waiting: Callable[[str, int, int], None] = lambda address, joined, wanted: None,
    keys: Keys | None = None,
) -> Report:
    """Runs a blueprint over worker processes: its own, or those that come to `address`, with `keys` only known ones.

    `on_waiting` hears where workers are awaited, how many have joined and how many are wanted. Raises RunFailed when a
    worker dies or the address is taken. Whatever happens, no process of its own is left.
    """
    run = blueprint.run
    with ExitStack() as stack:
        workers = stack.enter_context(LocalWorkers(len(blueprint.stages), run.runtime.threads)) if address is None else None
        transport = ZeroMQ(limits(run.link), keys, LOG.warning)
        stack.callback(transport.close)
        where = transport.bind(workers.address if workers is not None else address or "")
        members = (keys.public, *keys.known) if keys is not None else ()
        transport.admit(members)
        coordinator = Coordinator(blueprint, transport, members=members)
        stack.callback(coordinator.stop)  # runs first, whether the run ended well or not
        next_report_s, joined = 0.0, -1
        while not coordinator.is_done:
            if workers is not None:
                workers.check()
            coordinator.step(POLL_S)
            if len(coordinator.rendezvous.seats) != joined:
                joined = len(coordinator.rendezvous.seats)
                on_waiting(where, joined, len(blueprint.stages))
            if coordinator.is_training and coordinator.seconds >= next_report_s:
                next_report_s = coordinator.seconds + run.runtime.report_every_s
                on_progress(coordinator.progress())
        on_progress(coordinator.progress())
        return coordinator.report()
