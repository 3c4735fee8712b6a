"""A session: a worker's time as one stage of one attempt at a run. It turns messages into events, and actions into messages.

A microbatch's way: `receive` records it and tells the schedule; `act` asks the schedule what to do, has the executor do
it on the stage, and sends what follows.
"""

from collections.abc import Callable
from dataclasses import replace
from operator import index

from decoupled.runtime import records
from decoupled.runtime.assignment import Assignment, build_schedule
from decoupled.runtime.chunks import Chunks
from decoupled.runtime.connection import Connection, upstream_prefix
from decoupled.runtime.emulation import build_stage
from decoupled.runtime.executor import COORDINATOR, DOWNSTREAM, UPSTREAM, Outgoing, StageExecutor
from decoupled.runtime.faults import FaultInjector
from decoupled.runtime.records import Record
from decoupled.runtime.wire_form import WireForms
from decoupled.schedules.actions import Action, Forward
from decoupled.schedules.catalogue import is_decoupled
from decoupled.schedules.events import (
    ActivationArrived,
    Event,
    FeedEnded,
    FenceArrived,
    GradientArrived,
    GradientsEnded,
    MarkerArrived,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.links import credits_together, window_under
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.spans import Spans
from decoupled.transport.interface import Transport
from decoupled.wire.messages import Kind, Message


class StageSession:
    """From an assignment to the end of the run, or to the next assignment."""

    def __init__(self, assignment: Assignment, state: Chunks, transport: Transport, clock_ns: Callable[[], int]) -> None:
        """Raises ValueError when the state is not that of such a stage."""
        self._assignment = replace(assignment)  # without the whole network, which it holds once it has made the stage
        self._transport, self._clock_ns = transport, clock_ns
        self._place = assignment.place
        self._schedule = build_schedule(assignment)
        self._upstream = self._schedule.upstream
        self.counters = Counters(self._place.stage)
        message_bytes_max = assignment.run.link.message_bytes_max
        publish_every = assignment.run.heads.publish_every if is_decoupled(assignment.run.schedule) else None
        stage, metrics = build_stage(assignment), assignment.metrics
        self._executor = StageExecutor(stage, self._place, self.counters, message_bytes_max, publish_every, metrics)
        is_first, narrow = self._place.is_first, assignment.run.link.wire
        self._forms = WireForms(stage.inputs, stage.outputs, assignment.targets, is_first, narrow)
        self._connection = Connection(transport, DOWNSTREAM, assignment.attempt_id, assignment.generation, self._forms.gives)
        self._restore(state)
        self._spans = Spans()
        self._stirred_ns = clock_ns()  # when the downstream stage said something, or this one did something
        self._last_report_ns = clock_ns()
        self._has_finished = False
        self._faults = FaultInjector(assignment)
        self._bytes_before = (
            self.counters.bytes_sent - transport.bytes_sent,
            self.counters.bytes_received - transport.bytes_received,
        )
        window = assignment.run.link.window
        self._window = window if self._place.is_first else window_under(assignment.run.dni.overflow, window)
        self._together = credits_together(self._window)
        self.acted = False  # in the last turn
        if self._place.is_last:
            self._send(COORDINATOR, Message(Kind.READY))
        else:
            self._connect(assignment.downstream or "", assignment.downstream_key)

    def _restore(self, state: Chunks) -> None:
        if state.is_whole:
            self.counters = Counters.from_body(state.about["counters"] | {"stash": 0, "inbox": 0})
            self._executor.counters = self.counters
            self._executor.restore(state.arrays)
        stage = self._executor.stage  # the learning rate follows the run, also where a stage has missed some of it
        stage.version = max(stage.version, self._assignment.updates)

    def _connect(self, address: str, key: str) -> None:
        """Makes a new link to the downstream stage, if it is known where that is."""
        self._downstream = address, key
        self._connection.close()
        if address:
            self._send(DOWNSTREAM, self._connection.open(address, key))

    def end(self) -> None:
        """The attempt was given up; its messages are not wanted any more."""
        self._connection.close()

    # What arrives.

    def receive(self, peer: str, message: Message) -> None:
        """Turns a message into an event for the schedule; what is not of this attempt, or of an older link, is ignored."""
        if message.run != self._assignment.attempt_id:
            return
        event: Event | None = None
        if peer == COORDINATOR and message.kind is Kind.NEIGHBOUR:
            self._reconnect(str(message.body["address"]), str(message.body["key"]))
        elif message.kind is Kind.HELLO and peer.startswith(upstream_prefix(self._assignment.attempt_id)):
            self._welcome(peer, message)
        elif peer == self._upstream.peer:
            event = self._from_upstream(message)
        elif peer == self._connection.peer:
            event = self._from_downstream(message)
        if event is not None:
            self._schedule.receive(event)

    def lost(self, peer: str) -> None:
        """A link broke. Another is made to the same neighbour, which may live; if not, its successor will be named."""
        if peer == self._connection.peer:
            if not self._has_finished:
                self._send(COORDINATOR, Message(Kind.BROKEN))
            self._reconnect(*self._downstream)

    def _reconnect(self, address: str, key: str) -> None:
        self._schedule.receive(PeerLost())
        self._connect(address, key)

    def _welcome(self, peer: str, message: Message) -> None:
        """An upstream stage is there: the first, a successor, or the same one by a new link."""
        number = index(message.body.get("link", 0))
        if self._upstream.adopt(peer, (message.generation, number)):
            room = {"count": self._window, "room": self._window - len(self._upstream.waiting), "link": number}
            self._send(UPSTREAM, Message(Kind.WINDOW, body=room | {"takes": self._forms.takes.to_body()}))
            self._send_all(self._executor.welcome())  # it may be a successor, which has the initial ones
            if self._has_finished:
                self._send(UPSTREAM, Message(Kind.FINISHED))

    def _from_upstream(self, message: Message) -> Event | None:
        m = message.microbatch
        match message.kind:
            case Kind.ACTIVATION:
                x, targets = self._forms.parted(message)
                body = message.body
                training, ends = bool(body.get("training")), bool(body.get("ends_minibatch", True))
                if self._upstream.is_new(m):
                    self._executor.records[m] = Record(x, targets, training, ends)
                return ActivationArrived(m, training, ends, bool(body.get("wants_gradient")))
            case Kind.MARKER:
                return MarkerArrived(m)
            case Kind.FENCE:
                return FenceArrived(m)
            case Kind.FEED_ENDED:
                return FeedEnded()
            case Kind.ADOPTED:
                self._send_all(self._executor.adopted())
        return None

    def _from_downstream(self, message: Message) -> Event | None:
        self._stirred_ns = self._clock_ns()
        if message.kind is Kind.GRADIENT:
            is_true = bool(message.body.get("is_true", True))
            is_awaited = self._executor.accept_gradients(message.microbatch, self._forms.received(message), is_true)
            return GradientArrived(message.microbatch) if is_awaited else None
        if message.kind is Kind.PUBLISHED:
            self._send_all(self._executor.adopt(message.tensors))
            return None
        event = self._connection.event(message)
        if isinstance(event, PeerJoined):
            self._send(COORDINATOR, Message(Kind.READY, body={"next": message.generation}))
        return event

    # What is done.

    def act(self) -> bool:
        """One turn: at most one action, and a report when one is due."""
        action = self._schedule.next_action()
        self.acted = action is not None
        if action is not None:
            self._perform(action)
        elif self._schedule.finished and not self._has_finished:
            self._finish()
        else:
            self._lose_patience()
        self._grant_credit(action)
        is_due = self._clock_ns() - self._last_report_ns >= self._assignment.run.runtime.report_every_s * 1e9
        if is_due or self._spans.are_many:
            self._report()
        return self.acted

    def _perform(self, action: Action) -> None:
        start_ns = self._clock_ns()
        self._send_all(self._executor.perform(action), cause=str(action))
        self._stirred_ns = self._clock_ns()
        self._spans.add(action, start_ns, self._stirred_ns)
        if isinstance(action, Forward):
            self._faults.reached(action.microbatch)

    def _grant_credit(self, action: Action | None) -> None:
        """What was taken from the inbox leaves room for more."""
        if (granted := self._upstream.grant(self._together)) is not None:
            body = {"count": granted.count, "waiting": granted.waiting}
            self._send(UPSTREAM, Message(Kind.CREDIT, body=body), cause=str(action or ""))

    def _lose_patience(self) -> None:
        """A neighbour that says nothing for long, while this stage waits for its gradients, is taken to be cut off."""
        is_long = self._clock_ns() - self._stirred_ns > self._assignment.run.dni.patience_s * 1e9
        if is_long and (held := self._schedule.held):
            self._schedule.receive(GradientsEnded(max(held)))

    def _finish(self) -> None:
        self._has_finished = True
        if not self._place.is_first:
            self._send(UPSTREAM, Message(Kind.FINISHED))
        self._report()
        for piece in self._executor.result():
            self._send(COORDINATOR, piece)

    def _report(self) -> None:
        self._last_report_ns = self._clock_ns()
        self.counters.inbox, self.counters.stash = len(self._upstream.waiting), self._executor.stash
        self.counters.bytes_sent = self._bytes_before[0] + self._transport.bytes_sent
        self.counters.bytes_received = self._bytes_before[1] + self._transport.bytes_received
        body = {"counters": self.counters.to_body(), "at_ns": self._last_report_ns}
        self._send(COORDINATOR, Message(Kind.REPORT, body=body, tensors=(self._spans.take(),)))

    def _send_all(self, outgoing: list[Outgoing], cause: str = "") -> None:
        for role, message in outgoing:
            if role != DOWNSTREAM or not self._place.is_last:
                self._send(role, message, cause)

    def _send(self, role: str, message: Message, cause: str = "") -> None:
        """Sends a message as this stage of this attempt. A neighbour that has no link is told nothing."""
        peer = {UPSTREAM: self._upstream.peer, DOWNSTREAM: self._connection.peer}.get(role, role)
        if not peer:
            return
        stamped = replace(
            self._forms.sent(message),
            run=self._assignment.attempt_id,
            generation=self._assignment.generation,
            stage=self._place.stage,
            weight_version=self._executor.stage.version,
            cause=cause,
        )
        self._transport.send(peer, stamped)

    def validate(self) -> None:
        """Raises AssertionError unless records, schedule and links agree; for tests, after every event."""
        records.validate(self._executor.records, self._schedule)
        assert len(self._upstream.waiting) + self._upstream.owed <= self._window, "more came than the inbox holds"
