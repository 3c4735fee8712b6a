"""The coordinator: seats the workers, feeds the first stage, gathers reports, evaluations and the trained arrays.

It holds the data and makes no decision about training. Who takes part, and what follows when a worker is lost, is the
crew's business. `step` is all it takes to drive it.
"""

from collections.abc import Callable
from operator import index

from decoupled.checkpoint import Checkpoint
from decoupled.runtime.blueprint import Blueprint
from decoupled.runtime.crew import Crew
from decoupled.runtime.enquiry import Desk
from decoupled.runtime.keeper import Keeper, Standing, Storing
from decoupled.runtime.report import Report
from decoupled.runtime.source import FIRST
from decoupled.telemetry.board import Board, Progress
from decoupled.telemetry.clock import now_ns
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.evaluations import Part
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.spans import whole_rows
from decoupled.transport.interface import Disconnected, Transport
from decoupled.wire.messages import MALFORMED, Kind, Message


def now_s() -> float:
    """The workers' clock, in seconds."""
    return now_ns() / 1e9


class Coordinator:
    """One run, from its workers' arrival to its report."""

    def __init__(
        self,
        blueprint: Blueprint,
        transport: Transport,
        store: Storing,
        resume: Checkpoint | None = None,
        members: tuple[str, ...] = (),
        clock: Callable[[], float] = now_s,
    ) -> None:
        """`members` are the public keys of all who may take part, with keys.

        With `resume` the run goes on from that checkpoint. Raises UsageError when it does not say how the run stood.
        """
        self._blueprint, self._transport, self._clock = blueprint, transport, clock
        run, dataset = blueprint.run, blueprint.dataset
        self._keeper = Keeper(len(blueprint.stages), store, run.checkpoint)
        self.board = Board(blueprint.stages, run.epochs, len(dataset.x_train), len(dataset.x_test))
        if resume is not None:
            standing = Standing.of(resume)
            self.board.seconds_before = standing.seconds
            self.board.generations = [generation + 1 for generation in standing.generations]
            resumed = Incident(round(standing.seconds, 3), None, "resumed", f"after microbatch {resume.microbatch}")
            self.board.incidents = (*standing.incidents, resumed)
        self.crew = Crew(blueprint, transport, self._keeper, self.board, clock, resume, members)
        self._desk = Desk(transport, self.crew)

    @property
    def is_done(self) -> bool:
        """Every stage has trained on all there was, and its arrays are here."""
        return self.crew.attempt.is_done

    @property
    def is_training(self) -> bool:
        """All workers have joined and were ready."""
        return self.crew.started_at is not None

    @property
    def seconds(self) -> float:
        """Since the feed began, or went on."""
        return self.crew.seconds

    def step(self, timeout_s: float) -> None:
        """Takes in what has come, and feeds what fits. Raises RunFailed when the run cannot go on."""
        for arrival in self._transport.poll(timeout_s):
            if isinstance(arrival, Disconnected):
                self._disconnected(arrival.peer)
            else:
                self._receive(arrival.peer, arrival.message, arrival.key)
        self.crew.watch()
        self.crew.attempt.source.feed()

    def stop(self, is_over: bool, are_kept: bool) -> None:
        """Tells all workers that the run is over, or was given up, and whether they are wanted for another."""
        body = {"again": True} if are_kept else {} if is_over else {"reason": "the run was ended before it was over"}
        for seat in self.crew.rendezvous.taken:
            self._transport.send(seat.peer, Message(Kind.STOP, body=body))

    def take_due_starts(self) -> int:
        """How many workers are to be started now, in the places of lost ones."""
        return len(self.crew.supervision.take_due(self._clock()))

    def _disconnected(self, peer: str) -> None:
        stage = self.crew.rendezvous.stage_of(peer)
        if stage is not None:
            self.crew.disconnected(stage)
        elif peer == FIRST:
            self.crew.feed_link_broke()
        else:
            self.crew.left(peer)
            self._desk.left(peer)

    def _receive(self, peer: str, message: Message, key: str) -> None:
        stage = 0 if peer == FIRST else self.crew.rendezvous.stage_of(peer)
        if stage is None:
            if message.kind is Kind.JOIN:
                self.crew.join(peer, message, key)
            elif message.kind is Kind.ASK:
                self._desk.ask(peer, round(self._clock() * 1e9))
        elif message.run == self.crew.attempt.run_id:
            try:
                if peer == FIRST:
                    self.crew.attempt.source.receive(message)
                else:
                    self._hear(stage, message)
            except MALFORMED as error:
                self.crew.dismiss(stage, f"it sent a malformed {message.kind.value} message ({error!r:.200})")

    def _hear(self, stage: int, message: Message) -> None:
        """What a seated worker says."""
        attempt = self.crew.attempt
        match message.kind:
            case Kind.READY:
                self.crew.is_ready(stage)
            case Kind.REPORT:
                counters = Counters.from_body(message.body["counters"] | {"stage": stage})
                at_ns = index(message.body["at_ns"])
                rows = whole_rows(message.tensors[0], at_ns)
                self.board.report(counters, rows, at_ns, round(self._clock() * 1e9))
                self.crew.heard(stage, float((rows[:, 3] - rows[:, 2]).max(initial=0)) / 1e9)
            case Kind.EVALUATED:
                self._evaluated(message.microbatch, Part.from_body(message.body))
            case Kind.SNAPSHOT:
                feeder, m = attempt.source.feeder, message.microbatch
                if self._keeper.take(stage, message, self._standing(), feeder.owes(m)):
                    feeder.passed(m)
            case Kind.RESULT:
                attempt.take_result(stage, message)
            case Kind.BROKEN:
                self.crew.link_broke()
            case Kind.FAILED:
                self.crew.failed(stage, str(message.body["reason"]))

    def _evaluated(self, microbatch: int, part: Part) -> None:
        item = self.crew.attempt.source.feeder.evaluated(microbatch)
        if item is not None:
            self.board.evaluations.add(part, len(item.x), item.epoch, self.board.seconds_before + self.seconds)

    def _standing(self) -> Standing:
        board, fed = self.board, self.crew.attempt.source.feeder.fed
        return Standing(
            fed, board.evaluations.done, board.seconds_before + self.seconds, tuple(board.generations), board.incidents
        )

    def progress(self) -> Progress:
        """The run as it is now."""
        source, seconds = self.crew.attempt.source, self.board.seconds_before + self.seconds
        return self.board.progress(seconds, source.epoch, source.feeder.fed.to_train_on, self._keeper.last_saved)

    def report(self) -> Report:
        """What the finished run came to."""
        return self.crew.attempt.report(self._blueprint, self.board)
