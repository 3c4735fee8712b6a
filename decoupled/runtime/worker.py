"""The worker: joins a coordinator, becomes a stage, and from then on lets a schedule decide and a performer act.

A synchronous loop: take in what has arrived, do the one thing the schedule says, send what follows, look again. What
arrives during a computation can thus change the next choice.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import replace

from decoupled.errors import RunFailed
from decoupled.runtime.assignment import Assignment, build_schedule, upstream_name
from decoupled.runtime.emulation import equip
from decoupled.runtime.performer import COORDINATOR, CREDIT, DOWNSTREAM, UPSTREAM, Performer
from decoupled.runtime.process import limits, tune
from decoupled.runtime.rehearsal import rehearse
from decoupled.schedules.actions import Action
from decoupled.schedules.dni import window_under
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    Expired,
    FeedEnded,
    GradientArrived,
    PeerJoined,
    PeerLost,
    Side,
)
from decoupled.schedules.interface import Schedule
from decoupled.telemetry.clock import now_ns
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.spans import Spans
from decoupled.transport.hindered import Hindered
from decoupled.transport.interface import Disconnected, Transport
from decoupled.version import __version__
from decoupled.wire.messages import Kind, Message

EARLY = (Kind.HELLO, Kind.FEED_ENDED)  # what an upstream that was assigned sooner may say before this worker has its stage


class Worker:
    """One worker process, or one of several in a simulated cluster: `step` is all it takes to drive it."""

    def __init__(
        self, transport: Transport, clock_ns: Callable[[], int] = now_ns, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self._transport, self._clock_ns, self._say = transport, clock_ns, say
        self._life: Life | None = None
        self._early: dict[tuple[str, Kind], Message] = {}
        self._run_id = ""  # of the run that this worker is part of
        self.is_done = False

    @property
    def counters(self) -> Counters | None:
        """What this worker has done so far; None before its assignment."""
        return self._life.counters if self._life is not None else None

    def join(self, coordinator: str, inbox: str, name: str, key: str = "") -> None:
        """Opens the inbox at `inbox` and tells the coordinator, which has the public key `key` and may start later."""
        address = self._transport.bind(inbox)
        self._transport.connect(COORDINATOR, coordinator, name, key)
        about = {"address": address, "version": __version__, "host": platform.node(), "pid": os.getpid()}
        self._transport.send(COORDINATOR, Message(Kind.JOIN, body=about))

    def run(self) -> None:
        """Works until the coordinator says stop. Raises RunFailed when it is refused or the coordinator has gone."""
        while not self.is_done:
            self.step()

    def step(self) -> bool:
        """Takes in what has come and does at most one action; says whether it did one."""
        timeout = 0.0 if self._life is not None and self._life.acted else 0.05
        for arrival in self._transport.poll(timeout):
            if isinstance(arrival, Disconnected):
                self._lost(arrival.peer)
            else:
                self._receive(arrival.peer, arrival.message)
            if self.is_done:
                return False
        return self._life.act() if self._life is not None else False

    def fail(self, error: BaseException) -> None:
        """Tells the coordinator why this worker cannot go on."""
        if self._run_id:
            body = {"reason": f"{type(error).__name__}: {error}"}
            self._transport.send(COORDINATOR, Message(Kind.FAILED, run=self._run_id, body=body))

    def _lost(self, peer: str) -> None:
        if peer == COORDINATOR:
            raise RunFailed("The coordinator has gone, so this worker stops. Look there for the reason.")
        if self._life is not None:
            self._life.lost(peer)

    def _receive(self, peer: str, message: Message) -> None:
        match peer, message.kind:
            case "coordinator", Kind.ASSIGN if self._life is None:
                self._become(Assignment.from_message(message))
            case "coordinator", Kind.REFUSE:
                raise RunFailed(f"The coordinator refused this worker: {message.body.get('reason', 'no reason given')}.")
            case "coordinator", Kind.STOP:
                self.is_done = True
            case _, kind if self._life is None and kind in EARLY:
                self._early[peer, kind] = message
            case _ if self._life is not None:
                self._life.receive(peer, message)

    def _become(self, assignment: Assignment) -> None:
        self._run_id = assignment.run_id
        self._transport.admit(assignment.members)
        tune(assignment.run.runtime.threads)
        self._transport.limits = limits(assignment.run.link)
        emulation = assignment.run.emulation
        if emulation.latency_ms or emulation.drop:
            seed = assignment.run.seed + assignment.place.stage
            self._transport = Hindered(self._transport, emulation.latency_ms / 1000, emulation.drop, seed)
        layers = ", ".join(map(str, assignment.layers))
        rehearse(assignment)
        self._say(f"stage {assignment.place.stage} of {assignment.place.stages}, with layer {layers}")
        self._life = Life(assignment, self._transport, self._clock_ns)
        for (peer, _), message in self._early.items():
            self._life.receive(peer, message)
        self._early.clear()


class Life:
    """A worker's time as a stage, from its assignment to the end of the run."""

    def __init__(self, assignment: Assignment, transport: Transport, clock_ns: Callable[[], int]) -> None:
        self._assignment, self._transport, self._clock_ns = assignment, transport, clock_ns
        self._place = assignment.place
        self._schedule: Schedule = build_schedule(assignment)
        self.counters = Counters(self._place.stage)
        self._performer = Performer(equip(assignment), self._place, self.counters)
        self._spans = Spans()
        self._deadlines: dict[int, int] = {}  # when the patience with a microbatch's gradient runs out, oldest first
        self._last_report_ns = clock_ns()
        self._has_finished = False
        self._upstream = upstream_name(assignment.run_id)
        window = assignment.run.link.window
        self._window = window if self._place.is_first else window_under(assignment.run.dni.overflow, window)
        self._owed = 0  # credits not granted yet; a few go in one message, and the upstream still has most of the window
        self._grant = max(self._window // 4, 1)
        self.acted = False  # in the last turn
        if assignment.downstream is None:
            self.send(COORDINATOR, Message(Kind.READY))
        else:
            transport.connect(DOWNSTREAM, assignment.downstream, self._upstream, assignment.downstream_key)
            self.send(DOWNSTREAM, Message(Kind.HELLO))

    def receive(self, peer: str, message: Message) -> None:
        """Turns a message into an event for the schedule; what is not of this run is ignored."""
        if message.run != self._assignment.run_id:
            return
        if peer == self._upstream:
            event = self._from_upstream(message)
        elif peer == DOWNSTREAM:
            event = self._from_downstream(message)
        else:
            return
        if event is not None:
            self._schedule.receive(event)

    def lost(self, peer: str) -> None:
        """A neighbour has gone."""
        if peer == DOWNSTREAM:
            self._schedule.receive(PeerLost(Side.DOWNSTREAM))

    def _from_upstream(self, message: Message) -> Event | None:
        m = message.microbatch
        match message.kind:
            case Kind.HELLO:
                self.send(UPSTREAM, Message(Kind.WINDOW, body={"count": self._window}))
            case Kind.ACTIVATION if len(message.tensors) == 2:
                ends = bool(message.body.get("ends_minibatch", True))
                self._performer.accept(m, message.tensors[0], message.tensors[1], ends)
                return ActivationArrived(m, bool(message.body.get("training")), ends)
            case Kind.FEED_ENDED:
                if not self._place.is_last:
                    self.send(DOWNSTREAM, message)
                return FeedEnded(m)
        return None

    def _from_downstream(self, message: Message) -> Event | None:
        m, count = message.microbatch, message.body.get("count")
        match message.kind:
            case Kind.WINDOW if isinstance(count, int):
                self.send(COORDINATOR, Message(Kind.READY))
                return PeerJoined(Side.DOWNSTREAM, count)
            case Kind.CREDIT if isinstance(count, int):
                return CreditGranted(count)
            case Kind.GRADIENT if len(message.tensors) == 1 and self._performer.accept_gradient(m, message.tensors[0]):
                return GradientArrived(m)
            case Kind.FINISHED:
                return PeerLost(Side.DOWNSTREAM)
        return None

    def act(self) -> bool:
        """One turn: at most one action, and a report when one is due."""
        self._expire()
        action = self._schedule.next_action()
        self.acted = action is not None
        if action is not None:
            self._perform(action)
        elif self._schedule.finished and not self._has_finished:
            self._finish()
        if self._clock_ns() - self._last_report_ns >= self._assignment.run.runtime.report_every_s * 1e9:
            self._report()
        return self.acted

    def _perform(self, action: Action) -> None:
        microbatch: int = getattr(action, "microbatch", -1)
        start_ns = self._clock_ns()
        for peer, message in self._performer.perform(action):
            if message is CREDIT:
                self._owe(action)
            else:
                self.send(peer, message, cause=str(action))
        end_ns = self._clock_ns()
        self._spans.add(action, start_ns, end_ns)
        if self._performer.holds(microbatch):
            self._deadlines.setdefault(microbatch, end_ns + int(self._assignment.run.dni.patience_s * 1e9))
        else:
            self._deadlines.pop(microbatch, None)

    def _owe(self, action: Action) -> None:
        """What was taken from the inbox leaves room for one more."""
        self._owed += 1
        if self._owed >= self._grant:
            self.send(UPSTREAM, replace(CREDIT, body={"count": self._owed}), cause=str(action))
            self._owed = 0

    def _expire(self) -> None:
        now = self._clock_ns()
        while self._deadlines:
            oldest, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                return
            del self._deadlines[oldest]
            self._schedule.receive(Expired(oldest))

    def _finish(self) -> None:
        self._has_finished = True
        if not self._place.is_first:
            self.send(UPSTREAM, Message(Kind.FINISHED))
        self._report()
        arrays = self._performer.stage.arrays()
        for name, array in arrays.items():  # one by one, so that no message is larger than the largest array
            self.send(COORDINATOR, Message(Kind.RESULT, body={"name": name, "of": len(arrays)}, tensors=(array,)))

    def _report(self) -> None:
        self._last_report_ns = self._clock_ns()
        self.counters.bytes_sent = self._transport.bytes_sent
        self.counters.bytes_received = self._transport.bytes_received
        body = {"counters": self.counters.to_body(), "at_ns": self._last_report_ns}
        self.send(COORDINATOR, Message(Kind.REPORT, body=body, tensors=(self._spans.take(),)))

    def send(self, peer: str, message: Message, cause: str = "") -> None:
        """Sends a message as this stage of this run."""
        stamped = replace(
            message,
            run=self._assignment.run_id,
            stage=self._place.stage,
            weight_version=self._performer.stage.weight_version,
            cause=cause,
        )
        self._transport.send(self._upstream if peer == UPSTREAM else peer, stamped)
