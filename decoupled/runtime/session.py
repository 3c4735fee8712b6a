"""A life: a worker's time as one stage of one attempt at a run. It turns messages into events, and actions into messages."""

from collections.abc import Callable
from dataclasses import replace
from operator import index

from decoupled.runtime.assignment import Assignment, build_schedule, upstream_name, upstream_prefix
from decoupled.runtime.chunks import Chunks
from decoupled.runtime.emulation import build_stage
from decoupled.runtime.executor import COORDINATOR, CREDIT, DOWNSTREAM, UPSTREAM, StageExecutor
from decoupled.runtime.faults import FaultInjector
from decoupled.schedules.actions import Action, Forward
from decoupled.schedules.dni import window_under
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    Expired,
    FeedEnded,
    GradientArrived,
    MarkerArrived,
    PeerFinished,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.interface import Schedule
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.spans import Spans
from decoupled.transport.interface import Transport
from decoupled.wire.messages import Kind, Message

DRAIN_NS = 250_000_000  # for gradients that a marker or an evaluation waits for


class StageSession:
    """From an assignment to the end of the run, or to the next assignment."""

    def __init__(self, assignment: Assignment, state: Chunks, transport: Transport, clock_ns: Callable[[], int]) -> None:
        """Raises ValueError when the state is not that of such a stage."""
        self._assignment, self._transport, self._clock_ns = assignment, transport, clock_ns
        self._place = assignment.place
        self._schedule: Schedule = build_schedule(assignment)
        self.counters = Counters(self._place.stage)
        message_bytes_max = assignment.run.link.message_bytes_max
        self._executor = StageExecutor(build_stage(assignment), self._place, self.counters, message_bytes_max)
        self._take_up(state)
        self._spans = Spans()
        self._deadlines: dict[int, int] = {}  # when the patience with a microbatch's gradient runs out, oldest first
        self._last_report_ns = clock_ns()
        self._drained_by_ns = clock_ns() + DRAIN_NS
        self._has_finished = False
        self._faults = FaultInjector(assignment)
        self._bytes_before = (
            self.counters.bytes_sent - transport.bytes_sent,
            self.counters.bytes_received - transport.bytes_received,
        )
        self._upstream, self._upstream_is = "", (-1, -1)  # whom to answer to, and which generation and link of it that is
        self._downstream, self._downstream_key, self._links = assignment.downstream, assignment.downstream_key, 0
        window = assignment.run.link.window
        self._window = window if self._place.is_first else window_under(assignment.run.dni.overflow, window)
        self._waiting = 0  # microbatches in the inbox
        self._owed = 0  # credits not granted yet; a few go in one message, and the upstream still has most of the window
        self._grant = max(self._window // 4, 1)
        self.acted = False  # in the last turn
        if self._place.is_last:
            self.send(COORDINATOR, Message(Kind.READY))
        else:
            self._greet()

    def _take_up(self, state: Chunks) -> None:
        if state.is_whole:
            self.counters = Counters.from_body(state.about["counters"] | {"stash": 0, "inbox": 0})
            self._executor.counters = self.counters
            self._executor.restore(state.arrays)
        stage = self._executor.stage  # the learning rate follows the run, also where a stage has missed some of it
        stage.version = max(stage.version, self._assignment.updates)

    def _greet(self) -> None:
        """Makes a new link to the downstream stage, if it is known where that is."""
        if self._downstream:
            self._links += 1
            name = upstream_name(self._assignment.attempt_id, self._assignment.generation, self._links)
            self._transport.connect(DOWNSTREAM, self._downstream, name, self._downstream_key)
            self.send(DOWNSTREAM, Message(Kind.HELLO, body={"link": self._links}))

    def end(self) -> None:
        """The attempt was given up; its messages are not wanted any more."""
        self._transport.disconnect(DOWNSTREAM)

    def receive(self, peer: str, message: Message) -> None:
        """Turns a message into an event for the schedule; what is not of this attempt is ignored."""
        if message.run != self._assignment.attempt_id:
            return
        event: Event | None = None
        if peer == COORDINATOR and message.kind is Kind.NEIGHBOUR:
            self._downstream, self._downstream_key = str(message.body["address"]), str(message.body["key"])
            self._renew()
        elif message.kind is Kind.HELLO and peer.startswith(upstream_prefix(self._assignment.attempt_id)):
            self._welcome(peer, message)
        elif peer == self._upstream:
            event = self._from_upstream(message)
        elif peer == DOWNSTREAM:
            event = self._from_downstream(message)
        if event is not None:
            self._schedule.receive(event)

    def lost(self, peer: str) -> None:
        """A link broke. Another is made to the same neighbour, which may live; if not, its successor will be named."""
        if peer == DOWNSTREAM:
            if not self._has_finished:
                self.send(COORDINATOR, Message(Kind.BROKEN))
            self._renew()

    def _renew(self) -> None:
        self._schedule.receive(PeerLost())
        self._transport.disconnect(DOWNSTREAM)
        self._greet()

    def _welcome(self, peer: str, message: Message) -> None:
        """An upstream stage is there: the first, a successor, or the same one by a new link."""
        this = (message.generation, index(message.body.get("link", 0)))
        if this >= self._upstream_is:
            self._upstream, self._upstream_is = peer, this
            self._owed = 0
            window = {"count": self._window, "room": self._window - self._waiting, "link": this[1]}
            self.send(UPSTREAM, Message(Kind.WINDOW, body=window))

    def _from_upstream(self, message: Message) -> Event | None:
        m = message.microbatch
        match message.kind:
            case Kind.ACTIVATION:
                x, targets = self._assignment.split(message.tensors)
                ends = bool(message.body.get("ends_minibatch", True))
                self._executor.accept(m, x, targets, ends)
                self._waiting += 1
                return ActivationArrived(m, bool(message.body.get("training")), ends)
            case Kind.MARKER:
                return MarkerArrived(m)
            case Kind.FEED_ENDED:
                return FeedEnded()
        return None

    def _from_downstream(self, message: Message) -> Event | None:
        m, count, room = message.microbatch, message.body.get("count"), message.body.get("room")
        match message.kind:
            case Kind.WINDOW if isinstance(count, int) and isinstance(room, int) and message.body.get("link") == self._links:
                self.send(COORDINATOR, Message(Kind.READY, body={"next": message.generation}))
                return PeerJoined(count, max(room, 0))
            case Kind.CREDIT if isinstance(count, int):
                return CreditGranted(count)
            case Kind.GRADIENT if self._executor.accept_gradients(m, message.tensors):
                return GradientArrived(m)
            case Kind.FINISHED:
                return PeerFinished()
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
        is_due = self._clock_ns() - self._last_report_ns >= self._assignment.run.runtime.report_every_s * 1e9
        if is_due or self._spans.are_many:
            self._report()
        return self.acted

    def _perform(self, action: Action) -> None:
        microbatch: int = getattr(action, "microbatch", -1)
        start_ns = self._clock_ns()
        for peer, message in self._executor.perform(action):
            if message is CREDIT:
                self._owe(action)
            elif peer != DOWNSTREAM or not self._place.is_last:
                self.send(peer, message, cause=str(action))
        end_ns = self._clock_ns()
        self._spans.add(action, start_ns, end_ns)
        if self._executor.holds(microbatch):
            self._deadlines.setdefault(microbatch, end_ns + int(self._assignment.run.dni.patience_s * 1e9))
        else:
            self._deadlines.pop(microbatch, None)
        if isinstance(action, Forward):
            self._faults.reached(microbatch)

    def _owe(self, action: Action) -> None:
        """What was taken from the inbox leaves room for one more."""
        self._waiting -= 1
        self._owed += 1
        if self._owed >= self._grant:
            self.send(UPSTREAM, replace(CREDIT, body={"count": self._owed}), cause=str(action))
            self._owed = 0

    def _expire(self) -> None:
        now = self._clock_ns()
        if not self._schedule.is_draining:
            self._drained_by_ns = now + DRAIN_NS
        while self._deadlines:
            oldest, deadline = next(iter(self._deadlines.items()))
            if min(deadline, self._drained_by_ns) > now:
                return
            del self._deadlines[oldest]
            self._schedule.receive(Expired(oldest))

    def _finish(self) -> None:
        self._has_finished = True
        if not self._place.is_first:
            self.send(UPSTREAM, Message(Kind.FINISHED))
        self._report()
        for piece in self._executor.result():
            self.send(COORDINATOR, piece)

    def _report(self) -> None:
        self._last_report_ns = self._clock_ns()
        self.counters.inbox = self._waiting
        self.counters.bytes_sent = self._bytes_before[0] + self._transport.bytes_sent
        self.counters.bytes_received = self._bytes_before[1] + self._transport.bytes_received
        body = {"counters": self.counters.to_body(), "at_ns": self._last_report_ns}
        self.send(COORDINATOR, Message(Kind.REPORT, body=body, tensors=(self._spans.take(),)))

    def send(self, peer: str, message: Message, cause: str = "") -> None:
        """Sends a message as this stage of this attempt."""
        stamped = replace(
            message,
            run=self._assignment.attempt_id,
            generation=self._assignment.generation,
            stage=self._place.stage,
            weight_version=self._executor.stage.version,
            cause=cause,
        )
        self._transport.send(self._upstream if peer == UPSTREAM else peer, stamped)
