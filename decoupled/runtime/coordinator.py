"""The coordinator: seats the workers, feeds the first stage, gathers reports, evaluations and the trained arrays.

It holds the data and makes no decision about training. `step` is all it takes to drive it.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from decoupled.errors import RunFailed
from decoupled.nn.network import Network
from decoupled.nn.parameters import Array
from decoupled.runtime import feed
from decoupled.runtime.assignment import assign, upstream_name
from decoupled.runtime.blueprint import Blueprint
from decoupled.runtime.rendezvous import Rendezvous, Seat
from decoupled.runtime.report import Report, conclude
from decoupled.telemetry.board import Board, Progress
from decoupled.telemetry.counters import Counters
from decoupled.transport.interface import Disconnected, Transport
from decoupled.version import __version__
from decoupled.wire.messages import Kind, Message

READY_S = 120.0  # for workers to build their stages and find their neighbours
FIRST = "first"  # the coordinator's name for the first stage's inbox, which it feeds


class Coordinator:
    """One run, from its workers' arrival to its report."""

    def __init__(
        self,
        blueprint: Blueprint,
        transport: Transport,
        clock: Callable[[], float] = time.monotonic,
        members: tuple[str, ...] = (),  # public keys of all who may take part, its own among them
    ) -> None:
        self._blueprint, self._transport, self._clock, self._members = blueprint, transport, clock, members
        self._run_id = secrets.token_hex(8)
        run, dataset = blueprint.run, blueprint.dataset
        evaluate_every = run.runtime.evaluate_every
        parts = run.microbatches or 1
        self._feed = feed.stream(dataset, run.batch, run.epochs, run.seed, evaluate_every, parts)
        self._next = next(self._feed, None)
        self._last_microbatch = feed.length(dataset, run.batch, run.epochs, evaluate_every, parts) - 1
        self._epoch_of_evaluation: dict[int, int] = {}
        self._room = 0  # microbatches that fit the first stage's inbox
        self._ready: set[int] = set()
        self._arrays: list[dict[str, Array]] = [{} for _ in blueprint.stages]
        self._whole: set[int] = set()  # stages whose arrays are all here
        self._assigned_at: float | None = None
        self._started_at: float | None = None
        self._epoch = 1
        self.board = Board(blueprint.stages, run.epochs, len(dataset.x_train), len(dataset.x_test))
        self.rendezvous = Rendezvous(len(blueprint.stages), __version__)

    @property
    def is_done(self) -> bool:
        """Every stage has trained on all there was, and its arrays are here."""
        return len(self._whole) == len(self._blueprint.stages)

    @property
    def is_training(self) -> bool:
        """All workers have joined and are ready."""
        return self._started_at is not None

    def step(self, timeout_s: float) -> None:
        """Takes in what has come, and feeds what fits. Raises RunFailed when a worker fails or is lost."""
        for arrival in self._transport.poll(timeout_s):
            if isinstance(arrival, Disconnected):
                self._lost(arrival.peer)
            else:
                self._receive(arrival.peer, arrival.message, arrival.key)
        self._feed_first()
        if self._assigned_at is not None and self._started_at is None and self._clock() - self._assigned_at > READY_S:
            raise RunFailed(self._who_is_not_ready())

    def _who_is_not_ready(self) -> str:
        seats = self.rendezvous.seats
        stage = min(set(range(len(seats))) - self._ready)
        below = f" Can it reach the worker of stage {stage + 1} at {seats[stage + 1].address}?" if stage + 1 < len(seats) else ""
        return f"The worker of stage {stage} on {seats[stage].host} was not ready after {READY_S:g} s.{below}"

    def stop(self) -> None:
        """Tells all workers that the run is over."""
        for seat in self.rendezvous.seats:
            self._send(seat.peer, Message(Kind.STOP))

    def _receive(self, peer: str, message: Message, key: str) -> None:
        if message.kind is Kind.JOIN:
            self._join(peer, message, key)
            return
        if message.run != self._run_id:
            return
        if peer == FIRST:
            if message.kind in (Kind.WINDOW, Kind.CREDIT):
                self._room = min(self._room + int(message.body["count"]), self._blueprint.run.link.window)
            return
        stage = self.rendezvous.stage_of(peer)
        if stage is not None:
            self._hear(stage, message)

    def _hear(self, stage: int, message: Message) -> None:
        """What a seated worker says."""
        match message.kind:
            case Kind.READY:
                self._ready.add(stage)
                if len(self._ready) == len(self._blueprint.stages):
                    self._start()
            case Kind.REPORT:
                counters = Counters.from_body(message.body["counters"] | {"stage": stage})
                self.board.report(counters, message.tensors[0], message.body["at_ns"])
            case Kind.EVALUATED:
                epoch = self._epoch_of_evaluation.pop(message.microbatch)
                self.board.evaluations.add(message.body, epoch, self.seconds)
            case Kind.RESULT:
                self._arrays[stage][message.body["name"]] = message.tensors[0]
                if len(self._arrays[stage]) == message.body["of"]:
                    self._whole.add(stage)
            case Kind.FAILED:
                raise RunFailed(f"The worker of stage {stage} failed: {message.body['reason']}")

    def _join(self, peer: str, message: Message, key: str) -> None:
        match message.body:
            case {"address": str(address), "version": str(version), "host": str(host), "pid": int(pid)} if _can_be_reached(
                address
            ):
                refusal = self.rendezvous.join(Seat(peer, address, host, pid, key), version)
            case _:
                refusal = "it did not say who and where it is"
        if refusal is not None:
            self._send(peer, Message(Kind.REFUSE, body={"reason": refusal}))
        elif self.rendezvous.is_complete:
            self._assign()

    def _assign(self) -> None:
        self._assigned_at = self._clock()
        seats = self.rendezvous.seats
        for stage, seat in enumerate(seats):
            where, key = (seats[stage + 1].address, seats[stage + 1].key) if stage + 1 < len(seats) else (None, "")
            assignment = assign(self._blueprint, stage, self._run_id, where, key, self._members)
            self._transport.send(seat.peer, assignment.to_message())

    def _start(self) -> None:
        self._started_at = self._clock()
        first = self.rendezvous.seats[0]
        self._transport.connect(FIRST, first.address, upstream_name(self._run_id), first.key)
        self._send(FIRST, Message(Kind.HELLO))

    def _feed_first(self) -> None:
        while self._room > 0 and self._next is not None:
            item = self._next
            self._epoch = item.epoch
            if not item.training:
                self._epoch_of_evaluation[item.microbatch] = item.epoch
            self._send(
                FIRST,
                Message(
                    Kind.ACTIVATION,
                    microbatch=item.microbatch,
                    body={"training": item.training, "ends_minibatch": item.ends_minibatch},
                    tensors=(item.x, item.y),
                ),
            )
            self._room -= 1
            self._next = next(self._feed, None)
            if self._next is None:
                self._send(FIRST, Message(Kind.FEED_ENDED, microbatch=self._last_microbatch))

    def _send(self, peer: str, message: Message) -> None:
        self._transport.send(peer, replace(message, run=self._run_id))

    def _lost(self, peer: str) -> None:
        stage = self.rendezvous.stage_of(peer)
        if stage is None:
            return
        if not self.rendezvous.is_complete:
            self.rendezvous.leave(peer)
        elif stage not in self._whole:
            seat = self.rendezvous.seats[stage]
            raise RunFailed(f"The worker of stage {stage} (process {seat.pid} on {seat.host}) was lost, so the run was stopped.")

    @property
    def seconds(self) -> float:
        """Since the feed began."""
        return self._clock() - self._started_at if self._started_at is not None else 0.0

    def progress(self) -> Progress:
        """The run as it is now."""
        return self.board.progress(self.seconds, self._epoch)

    def report(self) -> Report:
        """What the finished run came to."""
        arrays = {name: array for of_stage in self._arrays for name, array in of_stage.items()}
        return conclude(self._blueprint.run, self.board, Network(self._blueprint.architecture, arrays))


def _can_be_reached(address: str) -> bool:
    return address.partition("://")[0] in ("tcp", "ipc", "memory")
