"""The coordinator: gives workers their stages, feeds the first, gathers reports, evaluations and the trained arrays.

It holds the data and makes no decision about training. Who takes part, and what follows when a worker is lost, is the
group's business. `step` is all it takes to drive it.
"""

from collections.abc import Callable
from operator import index

from decoupled.checkpoint import Checkpoint
from decoupled.runtime.checkpoints import CheckpointCoordinator, RunState, Storing
from decoupled.runtime.chunks import announced_bytes
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import ResolvedRun
from decoupled.runtime.sizes import state_bytes_max
from decoupled.runtime.status import StatusService
from decoupled.runtime.worker_group import WorkerGroup
from decoupled.telemetry.clock import now_ns
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.evaluations import Part
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.metrics import Progress, RunMetrics
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
        resolved: ResolvedRun,
        transport: Transport,
        store: Storing,
        resume: Checkpoint | None = None,
        keys: tuple[str, ...] = (),
        clock: Callable[[], float] = now_s,
        starts_workers: bool = True,
    ) -> None:
        """`keys` are the public ones of all who may take part, if there are keys.

        With `resume` the run goes on from that checkpoint. With `starts_workers` whoever drives the coordinator starts a
        worker for each of `take_due_starts`. Raises UsageError when the checkpoint does not say how the run stood.
        """
        self._resolved, self._transport, self._clock = resolved, transport, clock
        run, dataset = resolved.run, resolved.dataset
        self._state_bytes_max = [state_bytes_max(resolved, stage) for stage in range(len(resolved.stages))]
        self._checkpoints = CheckpointCoordinator(len(resolved.stages), store, run.checkpoint)
        self.metrics = RunMetrics(resolved.stages, run.epochs, dataset.samples, dataset.test_samples)
        if resume is not None:
            state = RunState.of(resume)
            self.metrics.seconds_before = state.seconds
            self.metrics.generations = [generation + 1 for generation in state.generations]
            resumed = Incident(round(state.seconds, 3), None, "resumed", f"after microbatch {resume.microbatch}")
            self.metrics.incidents = (*state.incidents, resumed)
        self.group = WorkerGroup(resolved, transport, self._checkpoints, self.metrics, clock, resume, keys, starts_workers)
        self._status = StatusService(transport, self.group)

    @property
    def is_done(self) -> bool:
        """Every stage has trained on all there was, and its arrays are here."""
        return self.group.attempt.is_done

    @property
    def is_training(self) -> bool:
        """All workers have joined and were ready."""
        return self.group.started_at is not None

    @property
    def seconds(self) -> float:
        """Since the feed began, or went on."""
        return self.group.seconds

    def step(self, timeout_s: float) -> None:
        """Takes in what has come, and feeds what fits. Raises RunFailed when the run cannot go on."""
        for arrival in self._transport.poll(timeout_s):
            if isinstance(arrival, Disconnected):
                self._disconnected(arrival.peer)
            else:
                self._receive(arrival.peer, arrival.message, arrival.key)
        self.group.watch()
        self.group.attempt.feed_link.feed()

    def stop(self, is_over: bool, are_kept: bool) -> None:
        """Tells all workers that the run is over, or was given up, and whether they are wanted for another."""
        body = {"again": True} if are_kept else {} if is_over else {"reason": "the run was ended before it was over"}
        for worker in self.group.members.taken:
            self._transport.send(worker.peer, Message(Kind.STOP, body=body))

    def take_due_starts(self) -> int:
        """How many workers are to be started now, in the places of lost ones."""
        return len(self.group.recovery.supervision.take_due(self._clock()))

    def _disconnected(self, peer: str) -> None:
        stage = self.group.members.stage_of(peer)
        if stage is not None:
            self.group.disconnected(stage)
        elif peer == self.group.attempt.feed_link.peer:
            self.group.feed_link_broke()
        else:
            self.group.members.disconnected(peer)
            self._status.left(peer)

    def _receive(self, peer: str, message: Message, key: str) -> None:
        is_feed = peer == self.group.attempt.feed_link.peer
        stage = 0 if is_feed else self.group.members.stage_of(peer)
        if stage is None:
            if message.kind is Kind.JOIN:
                self.group.join(peer, message, key)
            elif message.kind is Kind.ASK:
                self._status.ask(peer, round(self._clock() * 1e9))
        elif message.run == self.group.attempt.attempt_id:
            try:
                if is_feed:
                    self.group.attempt.feed_link.receive(message)
                else:
                    self._hear(stage, message)
            except MALFORMED as error:
                self.group.stop_worker(stage, f"it sent a malformed {message.kind.value} message ({error!r:.200})")

    def _hear(self, stage: int, message: Message) -> None:
        """What the worker of a stage says."""
        attempt = self.group.attempt
        is_current = message.generation == self.group.members.generations[stage]
        match message.kind:
            case Kind.READY if is_current:
                self.group.ready(stage, index(message.body.get("next", 0)))
            case Kind.REPORT:
                counters = Counters.from_body(message.body["counters"] | {"stage": stage})
                at_ns = index(message.body["at_ns"])
                rows = whole_rows(message.tensors[0], at_ns)
                self.metrics.report(counters, rows, at_ns, round(self._clock() * 1e9))
                self.group.heard(stage, float((rows[:, 3] - rows[:, 2]).max(initial=0)) / 1e9)
            case Kind.EVALUATED:
                self._evaluated(message.microbatch, Part.from_message(message))
            case Kind.SNAPSHOT | Kind.RESULT if announced_bytes(message) > self._state_bytes_max[stage]:
                raise ValueError(f"{announced_bytes(message):,} bytes, which are more than its state can have")
            case Kind.SNAPSHOT:
                stream, m = attempt.feed_link.stream, message.microbatch
                if self._checkpoints.take(stage, message, self._run_state(), stream.owes(m)):
                    stream.passed(m)
            case Kind.RESULT:
                attempt.take_result(stage, message)
            case Kind.BROKEN if is_current:
                self.group.link_broke(stage)
            case Kind.FAILED:
                self.group.failed(stage, str(message.body["reason"]), message.body.get("diverged") is True)

    def _evaluated(self, microbatch: int, part: Part) -> None:
        stream = self.group.attempt.feed_link.stream
        if (item := stream.awaited(microbatch)) is not None:
            self.metrics.evaluations.add(part, len(item.x), item.epoch, self.metrics.seconds_before + self.seconds)
            stream.evaluated(microbatch)  # not before: one that cannot be is fed again

    def _run_state(self) -> RunState:
        metrics, fed = self.metrics, self.group.attempt.feed_link.stream.fed
        return RunState(
            fed, metrics.evaluations.done, metrics.seconds_before + self.seconds, tuple(metrics.generations), metrics.incidents
        )

    def progress(self) -> Progress:
        """The run as it is now."""
        source, seconds = self.group.attempt.feed_link, self.metrics.seconds_before + self.seconds
        return self.metrics.progress(seconds, source.epoch, source.stream.fed.to_train_on, self._checkpoints.last_saved)

    def report(self) -> Report:
        """What the finished run came to."""
        return self.group.attempt.report(self._resolved, self.metrics)
