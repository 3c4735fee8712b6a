"""The worker group: the workers of a run and the attempt that they are at. It carries out what recovery decides."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import asdict, replace

from decoupled.checkpoint import Checkpoint, StageState
from decoupled.config import Fault
from decoupled.errors import Diverged, RunFailed, UsageError
from decoupled.runtime.assignment import assign
from decoupled.runtime.attempt import Attempt
from decoupled.runtime.checkpoints import CheckpointCoordinator, RunState, state_messages
from decoupled.runtime.chunks import Chunks
from decoupled.runtime.faults import DEADLY, after_rollback
from decoupled.runtime.membership import Membership, WorkerInfo
from decoupled.runtime.recovery import (
    FEED,
    AssignAll,
    Decision,
    EndRun,
    Note,
    Recovery,
    Rejoin,
    RenewSnapshot,
    RollBack,
    StartAnother,
    StopWorker,
)
from decoupled.runtime.resolve import ResolvedRun
from decoupled.runtime.supervision import policy_of
from decoupled.runtime.versions import as_told
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.metrics import RunMetrics
from decoupled.transport.address import can_be_linked
from decoupled.transport.interface import Transport
from decoupled.version import __version__
from decoupled.wire.messages import Kind, Message

HOST_MAX = 120  # letters of a host's name that are kept; Linux has 64


class WorkerGroup:
    """The workers of one run, from the first to join to the last to be replaced."""

    def __init__(
        self,
        resolved: ResolvedRun,
        transport: Transport,
        checkpoints: CheckpointCoordinator,
        metrics: RunMetrics,
        clock: Callable[[], float],
        resume: Checkpoint | None,
        keys: tuple[str, ...],
        starts_workers: bool,
    ) -> None:
        """`keys` are the public ones of all who may take part, if there are keys."""
        self._resolved, self._transport, self._checkpoints, self._clock = resolved, transport, checkpoints, clock
        self._stages = range(len(resolved.stages))
        self._rolls_back, self._keys, self._faults = resolved.run.rolls_back, keys, resolved.run.faults
        self.members = Membership(len(self._stages), __version__, metrics.generations)
        self.recovery = Recovery(self.members, policy_of(resolved), self._rolls_back, starts_workers, clock())
        self.metrics = metrics
        self.to_kill: list[WorkerInfo] = []  # by whoever started them
        self.started_at: float | None = None  # when all were ready, for the first time
        self._resume = resume  # until the first assignments
        self._rejoining: dict[int, Future[StageState | None]] = {}  # stages whose part of a checkpoint is being read
        self._rolling_back: Future[Checkpoint | None] | None = None  # the checkpoint for all is being read
        self.attempt = self._begin(resume)

    def _begin(self, checkpoint: Checkpoint | None) -> Attempt:
        state = RunState.of(checkpoint) if checkpoint is not None else None
        self.recovery.attempt_begins()
        return Attempt(self._resolved, self._checkpoints, self.metrics, self._transport, self._clock, state)

    @property
    def seconds(self) -> float:
        """Since the feed began, or went on."""
        return self._clock() - self.started_at if self.started_at is not None else 0.0

    # What is heard of workers.

    def join(self, peer: str, message: Message, key: str) -> None:
        """A worker asks for a stage; its connection has proven that it has the key."""
        limits = asdict(self._transport.limits)
        if message.body.get("limits", limits) != limits:
            if self.members.refuse(peer):
                self._transport.send(peer, Message(Kind.LIMITS, body=limits))
            return
        match message.body:
            case {"address": str(address), "version": str(version), "host": str(host), "pid": int(pid)} if can_be_linked(address):
                worker = WorkerInfo(peer, address, host[:HOST_MAX], pid, key, as_told(message.body.get("versions")))
                taken = self.members.join(worker, version, self.recovery.supervision.expected())
            case _:
                taken = "it did not say who and where it is"
        if isinstance(taken, int):
            self.metrics.hosts[taken] = host[:HOST_MAX]
            self._carry_out(self.recovery.joined(taken))
        elif self.members.refuse(peer):
            self._transport.send(peer, Message(Kind.REFUSE, body={"reason": taken}))

    def ready(self, stage: int, next_generation: int) -> None:
        """A worker has become its stage, and its link to the next stage's worker of that generation stands."""
        self.members.ready(stage, next_generation)
        self.recovery.ready(stage, self._clock())
        if absent_s := self.metrics.rejoined(stage, round(self._clock() * 1e9)):
            self._note(stage, "rejoined", f"generation {self.members.generations[stage]}, after {absent_s:.1f} s")
            self._checkpoints.want()  # so that the work is kept, and it shows which evaluations were lost
        if self.members.are_all_ready and not self.attempt.feed_link.is_in_use:
            self.started_at = self.started_at if self.started_at is not None else self._clock()
            self._link_first()

    def link_broke(self, stage: int) -> None:
        """A stage's link to the next stage broke, and is being made anew."""
        self.members.link_broke(stage)
        self._carry_out(self.recovery.link_broke(stage, self._clock()))

    def feed_link_broke(self) -> None:
        """The same for the link to the first stage, which this side makes anew."""
        if self.members.workers[0] is None or self.attempt.results[0].is_whole:
            return
        self.attempt.feed_link.unlink()
        self._carry_out(self.recovery.link_broke(FEED, self._clock()))
        if not self._rolls_back:
            self._link_first()

    def heard(self, stage: int, longest_s: float) -> None:
        """A worker has reported; its longest computation since the last time took so long."""
        self._carry_out(self.recovery.heard(stage, longest_s, self._clock()))

    def failed(self, stage: int, reason: str, has_diverged: bool) -> None:
        """A worker cannot go on, and says why. One that could not even begin would fail again, so the run ends."""
        if has_diverged:  # and would again
            raise Diverged(reason)
        if self.started_at is None:
            raise RunFailed(f"The worker of stage {stage} failed before training began: {reason}")
        self.lose(stage, f"it failed: {reason}")

    def disconnected(self, stage: int) -> None:
        """The link to a worker broke."""
        worker = self.members.workers[stage]
        assert worker is not None
        self.lose(stage, f"the link to process {worker.pid} on {worker.host} broke")

    def process_ended(self, host: str, pid: int, how: str) -> None:
        """A worker process that was started for this run has ended. Raises RunFailed when it cannot be replaced."""
        stage = self.members.stage_of_process(host, pid)
        if stage is not None:
            self.lose(stage, f"its process {pid} ended ({how})")
        elif not self.members.has_left(host, pid) and not self.members.is_complete:  # before it joined
            expected = [*self.recovery.supervision.expected(), self.members.workers.index(None)]
            self._replace(expected[0], f"the process {pid} for it ended ({how})")

    # What is done about it.

    def watch(self) -> None:
        """Does what the passing of time asks for. Raises RunFailed when the run cannot go on."""
        finished = [stage for stage in self._stages if self.attempt.results[stage].is_whole]
        if self.attempt.feed_link.state.is_there:
            self.recovery.link_stands(FEED)
        self._carry_out(self.recovery.watch(self._clock(), finished))
        self._use_what_was_read()
        self.attempt.feed_link.may_mark = self.members.are_all_ready

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case AssignAll():
                    self._assign_all(self._resume)
                    self._resume = None
                case Rejoin(stage):
                    fed = self.attempt.feed_link.stream.fed.number - 1
                    self._rejoining[stage] = self._checkpoints.load_stage(stage, fed)
                case RollBack():
                    self._stop_feeding()
                    self._rolling_back = self._rolling_back or self._checkpoints.load()
                case RenewSnapshot():
                    self._checkpoints.give_up()
                    self._checkpoints.want()
                case StopWorker(stage, why):
                    self.stop_worker(stage, why)
                case StartAnother(stage, why):
                    self._replace(stage, why)
                case Note(stage, what, detail):
                    self._note(stage, what, detail)
                case EndRun(why):
                    raise RunFailed(why)

    def stop_worker(self, stage: int, why: str) -> None:
        """Replaces a worker that may still be there."""
        worker = self.members.workers[stage]
        if worker is not None and not self.attempt.is_done:
            self._send(worker.peer, Message(Kind.STOP, body={"reason": why}))
            self.to_kill.append(worker)
        self.lose(stage, why)

    def lose(self, stage: int, why: str) -> None:
        """A worker has gone. Raises RunFailed when it cannot be replaced.

        One that has finished is replaced as well: what it said last to its neighbours may be lost with it.
        """
        if self.members.workers[stage] is not None and not self.attempt.is_done:
            self.members.leave(stage)
            self.attempt.results[stage] = Chunks()  # its successor sends the whole of it
            self._replace(stage, why)

    def _replace(self, stage: int, why: str) -> None:
        self._rejoining.pop(stage, None)
        self._rolling_back = None  # until all are there again
        self._checkpoints.give_up()
        self.metrics.lost(stage, round(self._clock() * 1e9))
        if stage == 0 or self._rolls_back:
            self._stop_feeding()
        self._carry_out(self.recovery.lost(stage, why, self._clock()))

    def _stop_feeding(self) -> None:
        self._checkpoints.give_up()
        self.attempt.feed_link.unlink()

    def _use_what_was_read(self) -> None:
        """Goes on from checkpoints that were read meanwhile: neighbours that never stopped are not kept waiting for it."""
        self._checkpoints.pass_on_warnings()
        for stage in [stage for stage, state in self._rejoining.items() if state.done()]:
            self._rejoin(stage, self._rejoining.pop(stage).result())
        if self._rolling_back is not None and self._rolling_back.done():
            checkpoint, self._rolling_back = self._rolling_back.result(), None
            self._roll_back(checkpoint)

    def _rejoin(self, stage: int, state: StageState | None) -> None:
        """A stage's new worker takes its place beside neighbours that never stopped."""
        self._renew([stage])
        self._assign(stage, state)
        if stage == 0 and self.attempt.feed_link.is_in_use:
            self._link_first()
        elif stage > 0 and (above := self.members.workers[stage - 1]) is not None:
            there = {"address": self.members.address(stage), "key": self.members.key(stage)}
            self._send(above.peer, Message(Kind.NEIGHBOUR, body=there))

    def _roll_back(self, checkpoint: Checkpoint | None) -> None:
        """All stages go back to the last checkpoint, and the feed with them."""
        self._faults = after_rollback(self._faults, self.attempt.feed_link.stream.fed.number)
        self.attempt = self._begin(checkpoint)
        self._renew(self._stages)
        number = self.attempt.feed_link.stream.fed.number
        self._note(None, "rolled back", f"to microbatch {number}" if number else "to the beginning")
        self._assign_all(checkpoint)

    def _renew(self, stages: Iterable[int]) -> None:
        self.members.renew(stages)
        self.metrics.generations = list(self.members.generations)

    def _assign_all(self, checkpoint: Checkpoint | None) -> None:
        for stage in self._stages:
            self._assign(stage, checkpoint.stage(stage) if checkpoint is not None else None)

    def _assign(self, stage: int, state: StageState | None) -> None:
        worker = self.members.workers[stage]
        assert worker is not None
        self.recovery.assigned(stage, self._clock())
        for piece in state_messages(state, self._resolved.run.link.message_bytes_max):
            self._send(worker.peer, piece)
        below = self.members.address(stage + 1) if stage + 1 not in self._rejoining else ""  # it is named when it is assigned
        assignment = replace(
            assign(self._resolved, stage, self.attempt.attempt_id, below),
            run=self._resolved.run.model_copy(update={"faults": self._faults}),
            generation=self.members.generations[stage],
            updates=self.attempt.feed_link.stream.fed.updates,
            downstream_key=self.members.key(stage + 1),
            members=self._keys,
        )
        self._send(worker.peer, assignment.to_message())

    def _link_first(self) -> None:
        self.attempt.feed_link.link(self.members.address(0) or "", self.members.key(0))

    def inject(self, fault: Fault) -> None:
        """Has a worker kill or stop itself. One that is not there is spared. Raises UsageError for any other fault."""
        if fault.kind not in DEADLY:
            raise UsageError(f"Only kill and stop strike at once; {fault.kind} has to be planned, with --fault.")
        worker = self.members.workers[fault.stage] if fault.stage in self._stages else None
        if worker is not None:
            self._send(worker.peer, Message(Kind.FAULT, body=fault.model_dump()))

    def _note(self, stage: int | None, what: str, detail: str) -> None:
        self.metrics.note(Incident(round(self.metrics.seconds_before + self.seconds, 3), stage, what, detail))

    def _send(self, peer: str, message: Message) -> None:
        self._transport.send(peer, replace(message, run=self.attempt.attempt_id))
