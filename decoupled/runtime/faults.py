"""Faults on purpose: what a run's fault plan, and its emulation, mean for one stage.

A fault strikes when the stage gets to its microbatch, so a worker that joins later is spared.
"""

import math
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from decoupled.config import EmulationOptions, Fault
from decoupled.runtime.assignment import Assignment
from decoupled.runtime.connection import upstream_prefix
from decoupled.runtime.executor import COORDINATOR, DOWNSTREAM
from decoupled.runtime.feed import Feed
from decoupled.telemetry.incidents import Incident
from decoupled.transport.faulty import LinkFault

BYTES_OF_MBIT = 125_000


def link_faults(assignment: Assignment) -> list[LinkFault]:
    """What makes the messages that come to the stage late or lose them."""
    run, stage = assignment.run, assignment.place.stage
    found = []
    if run.emulation.links_are_changed:
        found += _emulated(run.emulation, stage, assignment.attempt_id)
    for fault in run.faults:
        when = LinkFault(from_microbatch=fault.microbatch, seconds=fault.seconds)
        match fault.kind:
            case "drop" if fault.stage == stage:
                found.append(replace(when, drop=fault.share or 0.0))
            case "delay" if fault.stage == stage:
                found.append(replace(when, latency_s=(fault.ms or 0.0) / 1000))
            case "partition" if fault.stage == stage:
                found.append(replace(when, holds=True, peer=DOWNSTREAM))
            case "partition" if fault.stage + 1 == stage:
                found.append(replace(when, holds=True, peer=upstream_prefix(assignment.attempt_id)))
    return found


def _emulated(emulation: EmulationOptions, stage: int, attempt_id: str) -> list[LinkFault]:
    """The links that come to the stage, as they are emulated: all alike, or each by its factor."""
    wire = emulation.bandwidth_mbit
    usual = LinkFault(
        latency_s=emulation.latency_ms / 1000,
        jitter_s=emulation.jitter_ms / 1000,
        loss=emulation.loss,
        bytes_per_s=math.inf if wire is None else wire * BYTES_OF_MBIT,
        drop=emulation.drop,
    )
    if not emulation.link_factors:
        return [usual]
    factors = dict(enumerate(emulation.link_factors))  # by the stage above
    of_peers = {DOWNSTREAM: stage, upstream_prefix(attempt_id): stage - 1, COORDINATOR: -1}
    return [_slower(usual, peer, factors.get(above, 1.0)) for peer, above in of_peers.items()]


def _slower(link: LinkFault, peer: str, factor: float) -> LinkFault:
    return replace(
        link,
        peer=peer,
        latency_s=link.latency_s * factor,
        jitter_s=link.jitter_s * factor,
        bytes_per_s=link.bytes_per_s / factor,
    )


DEADLY = ("kill", "stop")
LASTING = ("delay", "partition")  # these are about all messages, those of the last evaluation as well


class FaultInjector:
    """Kills or stops this very process when the plan says so; a successor that begins behind the moment is spared."""

    def __init__(self, assignment: Assignment, strike: Callable[[Fault], None] | None = None) -> None:
        self._planned = _deadly(assignment.run.faults, assignment.place.stage)
        self._is_successor = assignment.generation > 0
        self._strike = strike or strike_self

    def reached(self, microbatch: int) -> None:
        """The stage has taken up that microbatch."""
        if self._is_successor:
            self._planned = [fault for fault in self._planned if fault.microbatch >= microbatch]
            self._is_successor = False
        while self._planned and self._planned[0].microbatch <= microbatch:
            self._strike(self._planned.pop(0))


class RegularKills:
    """Kills a worker every so many seconds, of one stage after the other."""

    def __init__(self, every_s: float | None, stages: int) -> None:
        self._every_s, self._stages = every_s or math.inf, stages
        self._seen, self._kills = 0, 0

    def due(self, seconds: float, are_all_ready: bool) -> list[Fault]:
        """What strikes now, so many seconds after the run began. A moment at which a worker is missing passes."""
        number = int(seconds // self._every_s)
        if number <= self._seen:
            return []
        self._seen = number
        if not are_all_ready:
            return []
        self._kills += 1
        return [Fault(kind="kill", stage=(self._kills - 1) % self._stages)]


def after_rollback(faults: Sequence[Fault], microbatch: int) -> tuple[Fault, ...]:
    """The faults still to come when a run that had been fed up to that microbatch begins anew at an earlier one.

    What can have struck does not strike again.
    """
    return tuple(fault for fault in faults if fault.kind not in DEADLY or fault.microbatch > microbatch)


def beyond_the_end(faults: Sequence[Fault], feed: Feed) -> list[Fault]:
    """The faults that never strike: their microbatch comes after the last that the stage takes up, or is sent."""
    return [fault for fault in faults if fault.microbatch >= (len(feed) if fault.kind in LASTING else feed.end_of_training)]


def not_struck(faults: Sequence[Fault], incidents: Sequence[Incident]) -> list[Fault]:
    """The planned kills, the last of each stage, that cost a finished run no worker."""
    resumed = max((i for i, one in enumerate(incidents) if one.what == "resumed"), default=-1)
    lost = Counter(one.stage for one in incidents[resumed + 1 :] if one.what == "lost")
    kills = sorted((fault for fault in faults if fault.kind == "kill"), key=lambda fault: fault.microbatch)
    nth = Counter[int]()
    spared = []
    for fault in kills:
        nth[fault.stage] += 1
        if nth[fault.stage] > lost[fault.stage]:
            spared.append(fault)
    return spared


def _deadly(faults: Sequence[Fault], stage: int) -> list[Fault]:
    return sorted(
        (fault for fault in faults if fault.kind in DEADLY and fault.stage == stage), key=lambda fault: fault.microbatch
    )


def strike_self(fault: Fault) -> None:
    """Kills or stops this process. Raises ValueError for any other fault, which strikes messages."""
    if fault.kind not in DEADLY:
        raise ValueError(f"a process cannot suffer {fault.kind}")
    if fault.kind == "stop" and fault.seconds is not None:
        # A stopped process cannot wake itself.
        subprocess.Popen(["sh", "-c", f"sleep {fault.seconds}; kill -CONT {os.getpid()} 2>/dev/null"], start_new_session=True)
    os.kill(os.getpid(), signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)
