"""The worker: joins a coordinator, and then is whichever stage it is told to be, until it is told to stop.

A synchronous loop: take in what has arrived, do the one thing the schedule says, send what follows, look again. What
arrives during a computation can thus change the next choice.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from decoupled import user_code
from decoupled.config import Fault, LinkOptions
from decoupled.errors import DecoupledError, Diverged, RunFailed
from decoupled.runtime.assignment import Assignment
from decoupled.runtime.chunks import Chunks
from decoupled.runtime.connection import upstream_prefix
from decoupled.runtime.executor import COORDINATOR
from decoupled.runtime.faults import link_faults, strike_self
from decoupled.runtime.process import limits, tune
from decoupled.runtime.session import StageSession
from decoupled.runtime.versions import versions
from decoupled.runtime.warmup import warm_up
from decoupled.telemetry.clock import now_ns
from decoupled.telemetry.counters import Counters
from decoupled.transport.faulty import FaultyTransport
from decoupled.transport.interface import Disconnected, Transport
from decoupled.version import __version__
from decoupled.wire.messages import MALFORMED, Kind, Message

EARLY_MAX = 4096  # greetings kept for a stage that this worker may be told to be; more than a stranger has connections


class Worker:
    """One worker process, or one of several in a simulated cluster: `step` is all it takes to drive it."""

    def __init__(
        self,
        transport: Transport,
        clock_ns: Callable[[], int] = now_ns,
        say: Callable[[str], None] = lambda text: None,
        is_kept: bool = False,
    ) -> None:
        """One that `is_kept` from a run before bears with a coordinator that goes before the next run has begun."""
        self._transport = transport
        self._clock_ns, self._say = clock_ns, say
        self._session: StageSession | None = None
        self._state = Chunks()  # what the stage is to go on from, if anything
        self._early: dict[str, Message] = {}  # greetings of upstream stages that were assigned sooner
        self._attempt_id = ""  # of the run that this worker is part of
        self._meeting = ("", "", "", "")  # where the coordinator is, where to listen, this worker's name, the coordinator's key
        self._joined = 0  # times
        self.is_done = False
        self.is_dismissed = False  # by the coordinator, or because it has gone
        self.is_kept = is_kept  # for another run, whose coordinator comes to the same address

    @property
    def counters(self) -> Counters | None:
        """What this worker has done so far; None before its assignment."""
        return self._session.counters if self._session is not None else None

    def join(self, coordinator: str, inbox: str, name: str, key: str = "") -> None:
        """Opens the inbox at `inbox` and tells the coordinator, which has the public key `key` and may start later.

        Only the coordinator knows the limits of the run's links. It gives a stage to a worker whose own are the same, and tells
        any other, which then joins again by another inbox and link: sockets keep the limits that they were made with.
        """
        self._meeting = coordinator, inbox, name, key
        self._join()

    def _join(self) -> None:
        coordinator, inbox, name, key = self._meeting
        again = f"-{self._joined}" if self._joined else ""
        self._joined += 1
        self._transport.disconnect(COORDINATOR)
        address = self._transport.bind(inbox + again if inbox.startswith("ipc://") else inbox)
        self._transport.connect(COORDINATOR, coordinator, name + again, key)
        about = {"address": address, "version": __version__, "host": platform.node(), "pid": os.getpid()}
        told = {"versions": versions(), "limits": asdict(self._transport.limits)}
        self._transport.send(COORDINATOR, Message(Kind.JOIN, body=about | told))

    def run(self) -> None:
        """Works until the coordinator says stop. Raises RunFailed when it is refused or the coordinator has gone."""
        while not self.is_done:
            self.step()

    def step(self) -> bool:
        """Takes in what has come and does at most one action; says whether it did one."""
        timeout = 0.0 if self._session is not None and self._session.acted else 0.05
        for arrival in self._transport.poll(timeout):
            if isinstance(arrival, Disconnected):
                self._lost(arrival.peer)
            else:
                self._hear(arrival.peer, arrival.message)
            if self.is_done:
                return False
        return self._session.act() if self._session is not None else False

    def validate(self) -> None:
        """Raises AssertionError unless all that this worker keeps agrees; for tests, after every event."""
        if self._session is not None:
            self._session.validate()

    def fail(self, error: BaseException) -> None:
        """Tells the coordinator why this worker cannot go on."""
        if self._attempt_id:
            reason = str(error) if isinstance(error, DecoupledError) else user_code.describe(error)
            body = {"reason": reason, "diverged": isinstance(error, Diverged)}
            self._transport.send(COORDINATOR, Message(Kind.FAILED, run=self._attempt_id, body=body))

    def _lost(self, peer: str) -> None:
        if peer == COORDINATOR and self.is_kept:
            self.is_done = True
            return
        if peer == COORDINATOR:
            self.is_dismissed = True
            raise RunFailed("The coordinator has gone, so this worker stops. Look there for the reason.")
        self._early.pop(peer, None)
        if self._session is not None:
            self._session.lost(peer)

    def _hear(self, peer: str, message: Message) -> None:
        """Raises RunFailed when one of this run sends what cannot be used; from strangers nothing is read."""
        try:
            self._receive(peer, message)
        except MALFORMED as error:
            raise RunFailed(f"{peer} sent a malformed {message.kind.value} message: {error!r:.200}.") from error

    def _receive(self, peer: str, message: Message) -> None:
        match peer, message.kind:
            case "coordinator", Kind.STATE:
                self._state.add(message)
            case "coordinator", Kind.ASSIGN:
                self._become(Assignment.from_message(message))
            case "coordinator", Kind.LIMITS if self._session is None:
                self._transport.limits = limits(LinkOptions(**message.body))
                self._join()
            case "coordinator", Kind.REFUSE:
                self.is_dismissed = True
                raise RunFailed(f"The coordinator refused this worker: {message.body.get('reason', 'no reason given')}.")
            case "coordinator", Kind.FAULT:
                strike_self(Fault(**message.body))
            case "coordinator", Kind.STOP:
                self._stop(message.body)
            case _, Kind.HELLO if message.run != self._attempt_id:
                self._keep_early(peer, message)
            case _ if self._session is not None:
                self._session.receive(peer, message)

    def _stop(self, body: dict[str, Any]) -> None:
        """Raises RunFailed when the run is not over for this worker, so that whoever starts workers starts another."""
        self.is_done, self.is_kept = True, body.get("again") is True
        if "reason" in body:
            self.is_dismissed = True
            raise RunFailed(f"The coordinator dismissed this worker: {body['reason']}.")

    def _keep_early(self, peer: str, message: Message) -> None:
        """Keeps of a greeting, which may be a stranger's, only what is small."""
        link = message.body.get("link")
        if peer.startswith(upstream_prefix(message.run)) and isinstance(link, int):
            self._early[peer] = replace(message, cause="", body={"link": link}, tensors=())
            if len(self._early) > EARLY_MAX:
                self._early.pop(next(iter(self._early)))

    def _become(self, assignment: Assignment) -> None:
        """Is that stage from now on; if it was one before, that was in an attempt which has been given up."""
        is_new, self.is_kept = self._session is None, False
        self._attempt_id = assignment.attempt_id
        assignment = assignment.with_own_code()
        self._transport.admit(assignment.members)
        state, self._state = self._state, Chunks()
        if self._session is not None:
            self._session.end()
        if is_new:
            tune(assignment.run.runtime.threads)
            warm_up(assignment)
        hampered = link_faults(assignment)
        if isinstance(self._transport, FaultyTransport):  # what is late in it stays so
            self._transport.suffer(hampered)
        elif hampered:
            seed = assignment.run.seed + assignment.place.stage
            self._transport = FaultyTransport(self._transport, hampered, seed, lambda: self._clock_ns() / 1e9)
        layers = ", ".join(map(str, assignment.layers))
        self._say(f"stage {assignment.place.stage} of {assignment.place.stages}, with layer {layers}")
        self._session = StageSession(assignment, state, self._transport, self._clock_ns)
        for peer, message in self._early.items():
            self._session.receive(peer, message)
        self._early = {peer: message for peer, message in self._early.items() if message.run != self._attempt_id}
