"""The worker group: who is which stage, and who takes the place of a worker that is lost.

Under dni the new worker goes on from its stage's last checkpoint, beside neighbours that never stopped. Otherwise all
stages go back to the last checkpoint together, in a new attempt.
"""

from collections.abc import Callable
from dataclasses import replace

from decoupled.checkpoint import Checkpoint
from decoupled.config import Fault
from decoupled.errors import RunFailed, UsageError
from decoupled.runtime.assignment import assign
from decoupled.runtime.attempt import Attempt
from decoupled.runtime.checkpoints import CheckpointCoordinator, state_messages
from decoupled.runtime.chunks import Chunks
from decoupled.runtime.faults import DEADLY, after_rollback
from decoupled.runtime.rendezvous import Rendezvous, WorkerInfo
from decoupled.runtime.resolve import ResolvedRun
from decoupled.runtime.supervision import Policy, Supervision
from decoupled.runtime.versions import as_told
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.metrics import RunMetrics
from decoupled.transport.address import can_be_linked
from decoupled.transport.interface import Transport
from decoupled.version import __version__
from decoupled.wire.messages import Kind, Message

HOST_MAX = 120  # letters of a host's name that are kept; Linux has 64
READY_S = 120.0  # for workers to build their stages and find their neighbours
SILENT_S = 1.5  # without a report, of which several should have come
SLEPT_S = 1.0  # between two looks, which should be a few milliseconds
BROKEN_S = 1.0  # for a worker's end to become known, which would explain a broken link


class WorkerGroup:
    """The workers of one run, from the first to join to the last to be replaced, and the attempt that they are at."""

    def __init__(
        self,
        resolved: ResolvedRun,
        transport: Transport,
        checkpoints: CheckpointCoordinator,
        metrics: RunMetrics,
        clock: Callable[[], float],
        resume: Checkpoint | None,
        members: tuple[str, ...],
    ) -> None:
        """`members` are the public keys of all who may take part, with keys."""
        self._resolved, self._transport, self._checkpoints, self._clock = resolved, transport, checkpoints, clock
        run, count = resolved.run, len(resolved.stages)
        self._rolls_back, self._members = run.rolls_back, members
        silent_s = max(SILENT_S, 4 * run.runtime.report_every_s)
        stall_s = max(run.supervision.stall_timeout_s, silent_s)
        known_s = (run.emulation.device_ms or 0.0) / 1000 * max(map(len, resolved.stages)) * run.emulation.straggler_factor
        limits = (run.supervision.restarts_max, run.supervision.backoff_s, silent_s, stall_s, known_s)
        self.supervision = Supervision(count, Policy(*limits))
        self.rendezvous = Rendezvous(count, __version__)
        self.metrics = metrics
        self.condemned: list[WorkerInfo] = []  # of workers to be killed by whoever started them
        self.started_at: float | None = None  # when all were ready, for the first time
        self._faults = run.faults
        self._watched_at = clock()
        self._is_assigned = False  # every stage, at least once
        self._assigned_at: dict[int, float] = {}  # stages that are not ready yet
        self._refused: set[str] = set()  # peers that asked for a stage and are still linked
        self._gone: set[tuple[str, int]] = set()  # hosts and processes of workers that are known to be lost
        self._broken_at: float | None = None  # when a link broke that only a new attempt can mend
        self.attempt = self._begin(resume)

    def _begin(self, checkpoint: Checkpoint | None) -> Attempt:
        self._broken_at = None
        return Attempt(self._resolved, self._checkpoints, self.metrics, self._transport, self._clock, checkpoint)

    @property
    def seconds(self) -> float:
        """Since the feed began, or went on."""
        return self._clock() - self.started_at if self.started_at is not None else 0.0

    # Who joins.

    def join(self, peer: str, message: Message, key: str) -> None:
        """A worker asks for a stage; its connection has proven that it has the key."""
        match message.body:
            case {"address": str(address), "version": str(version), "host": str(host), "pid": int(pid)} if can_be_linked(address):
                worker = WorkerInfo(peer, address, host[:HOST_MAX], pid, key, as_told(message.body.get("versions")))
                taken = self.rendezvous.join(worker, version, self.supervision.expected())
            case _:
                taken = "it did not say who and where it is"
        if isinstance(taken, str):
            if peer not in self._refused:  # once: a stranger that asks on and does not listen would fill the memory
                self._refused.add(peer)
                self._transport.send(peer, Message(Kind.REFUSE, body={"reason": taken}))
            return
        self.supervision.joined(taken)
        self.metrics.hosts[taken] = worker.host
        if self._is_assigned and not self._rolls_back:
            self._rejoin(taken)
        elif self._is_assigned and self.rendezvous.is_complete:
            self._roll_back()
        elif self.rendezvous.is_complete:
            self._is_assigned = True
            self._assign_all()

    def _assign_all(self) -> None:
        for stage in range(len(self.rendezvous.workers)):
            self._assign(stage, self.attempt.checkpoint)

    def _assign(self, stage: int, checkpoint: Checkpoint | None) -> None:
        worker = self.rendezvous.workers[stage]
        assert worker is not None
        self._assigned_at[stage] = self._clock()
        for piece in state_messages(checkpoint, stage, self._resolved.run.link.message_bytes_max):
            self._send(worker.peer, piece)
        assignment = replace(
            assign(self._resolved, stage, self.attempt.attempt_id, self.rendezvous.address(stage + 1)),
            run=self._resolved.run.model_copy(update={"faults": self._faults}),
            generation=self.metrics.generations[stage],
            updates=self.attempt.feed_link.stream.fed.updates,
            downstream_key=self.rendezvous.key(stage + 1),
            members=self._members,
        )
        self._send(worker.peer, assignment.to_message())

    def _rejoin(self, stage: int) -> None:
        """A stage's new worker takes its place beside neighbours that never stopped."""
        self.metrics.generations[stage] += 1
        self._assign(stage, self._checkpoints.latest())
        if stage == 0 and self.attempt.feed_link.is_in_use:
            self._link_first()
        elif stage > 0 and (above := self.rendezvous.workers[stage - 1]) is not None:
            there = {"address": self.rendezvous.address(stage), "key": self.rendezvous.key(stage)}
            self._send(above.peer, Message(Kind.NEIGHBOUR, body=there))

    def _link_first(self) -> None:
        self.attempt.feed_link.link(self.rendezvous.address(0) or "", self.rendezvous.key(0))

    def _roll_back(self) -> None:
        """All stages go back to the last checkpoint, and the feed with them."""
        self._faults = after_rollback(self._faults, self.attempt.feed_link.stream.fed.number)
        self.attempt.feed_link.unlink()
        self.attempt = self._begin(self._checkpoints.latest())
        self.metrics.generations = [generation + 1 for generation in self.metrics.generations]
        number = self.attempt.feed_link.stream.fed.number
        self._note(None, "rolled back", f"to microbatch {number}" if number else "to the beginning")
        self._assign_all()

    def is_ready(self, stage: int) -> None:
        """A worker has become its stage, and found the neighbour below."""
        self.attempt.ready.add(stage)
        self._assigned_at.pop(stage, None)
        self.supervision.heard(stage, self._clock())
        if absent_s := self.metrics.rejoined(stage, round(self._clock() * 1e9)):
            self._note(stage, "rejoined", f"generation {self.metrics.generations[stage]}, after {absent_s:.1f} s")
            self._checkpoints.want()  # so that the work is kept, and it shows which evaluations were lost
        if len(self.attempt.ready) < len(self.rendezvous.workers):
            return
        self.attempt.feed_link.may_mark = True
        if not self.attempt.feed_link.is_in_use:
            self.started_at = self.started_at if self.started_at is not None else self._clock()
            self._link_first()

    def inflict(self, fault: Fault) -> None:
        """Has a worker kill or stop itself. One that is not there is spared. Raises UsageError for any other fault."""
        if fault.kind not in DEADLY:
            raise UsageError(f"Only kill and stop strike at once; {fault.kind} has to be planned, with --fault.")
        worker = self.rendezvous.workers[fault.stage] if fault.stage < len(self.rendezvous.workers) else None
        if worker is not None:
            self._send(worker.peer, Message(Kind.FAULT, body=fault.model_dump()))

    def heard(self, stage: int, longest_s: float) -> None:
        """A worker has reported; its longest computation since the last time took so long."""
        self.supervision.computes(stage, longest_s)
        if self.supervision.heard(stage, self._clock()):
            self._note(stage, "back", "it reports again")

    # Who is lost.

    def left(self, peer: str) -> None:
        """Somebody without a stage has gone."""
        self._refused.discard(peer)

    def watch(self) -> None:
        """Replaces workers that are silent for too long, or take too long to be ready, and makes up for broken links."""
        now = self._clock()
        if now - self._watched_at > SLEPT_S:  # this process was stopped, or its host was suspended
            self.supervision.slept(now - self._watched_at)
        self._watched_at = now
        for stage in self.supervision.take_silent(now):
            if not self.attempt.results[stage].is_whole:
                self._note(stage, "silent", f"no report for {self.supervision.silent_s:.2g} s")
        for stage in self.supervision.stalled(now):
            self.dismiss(stage, f"no report for {self.supervision.stall_s:.2g} s")
        for stage in self._assigned_at:
            if stage + 1 < len(self.rendezvous.workers) and stage + 1 not in self.attempt.ready:
                self._assigned_at[stage] = now  # it has nobody to find yet
        for stage in [stage for stage, at in self._assigned_at.items() if now - at > READY_S]:
            below = self.rendezvous.address(stage + 1)
            hint = f"; can it reach stage {stage + 1} at {below}?" if below else ""
            self.dismiss(stage, f"it was not ready after {READY_S:g} s{hint}")
        if self._broken_at is not None and now - self._broken_at > BROKEN_S and self.rendezvous.is_complete:
            self._roll_back()

    def process_ended(self, host: str, pid: int, how: str) -> None:
        """A worker process that was started for this run has ended. Raises RunFailed when it cannot be replaced."""
        stage = self.rendezvous.stage_of_process(host, pid)
        if stage is not None:
            self.lose(stage, f"its process {pid} ended ({how})")
        elif (host, pid) not in self._gone and not self.rendezvous.is_complete:  # before it joined
            expected = [*self.supervision.expected(), self.rendezvous.workers.index(None)]
            self._replace(expected[0], f"the process {pid} for it ended ({how})")

    def disconnected(self, stage: int) -> None:
        """The link to a worker broke."""
        worker = self.rendezvous.workers[stage]
        assert worker is not None
        self.lose(stage, f"the link to process {worker.pid} on {worker.host} broke")

    def link_broke(self) -> None:
        """What was under way is lost: under dni at most a marker matters, otherwise only a new attempt can make up for it."""
        if not self._rolls_back:
            self._checkpoints.give_up()
            self._checkpoints.want()
        elif self._broken_at is None:
            self._broken_at = self._clock()

    def feed_link_broke(self) -> None:
        """The same for the link to the first stage, which this side has to make anew."""
        if self.rendezvous.workers[0] is None or self.attempt.results[0].is_whole:
            return
        self.link_broke()
        if not self._rolls_back:
            self._link_first()

    def lose(self, stage: int, why: str) -> None:
        """A worker has gone. Raises RunFailed when it cannot be replaced."""
        worker = self.rendezvous.workers[stage]
        if worker is None or all(result.is_whole for result in self.attempt.results[: stage + 1]):
            return  # nobody needs it any more
        self._gone.add((worker.host, worker.pid))
        self.rendezvous.leave(stage)
        self.attempt.results[stage] = Chunks()  # a successor sends the whole of it
        self._replace(stage, why)

    def failed(self, stage: int, reason: str) -> None:
        """A worker cannot go on, and says why. One that could not even begin would fail again, so the run ends."""
        if self.started_at is None:
            raise RunFailed(f"The worker of stage {stage} failed before training began: {reason}")
        self.lose(stage, f"it failed: {reason}")

    def dismiss(self, stage: int, why: str) -> None:
        """A worker that may still be there is not wanted any more."""
        worker = self.rendezvous.workers[stage]
        if worker is not None and not self.attempt.results[stage].is_whole:
            self._send(worker.peer, Message(Kind.STOP, body={"reason": why}))
            self.condemned.append(worker)
        self.lose(stage, why)

    def _replace(self, stage: int, why: str) -> None:
        self._assigned_at.pop(stage, None)
        self.attempt.ready.discard(stage)
        self._checkpoints.give_up()
        self.attempt.feed_link.may_mark = False  # a marker would only get lost
        self.metrics.lost(stage, round(self._clock() * 1e9))
        if stage == 0 or self._rolls_back:
            self.attempt.feed_link.unlink()
        if not self.supervision.lost(stage, self._clock()):
            allowed = f"once more than supervision.restarts_max ({self._resolved.run.supervision.restarts_max}) allows"
            raise RunFailed(f"The worker of stage {stage} was lost {allowed}, so the run was stopped: {why}.")
        self._note(stage, "lost", why)

    def _note(self, stage: int | None, what: str, detail: str) -> None:
        self.metrics.note(Incident(round(self.metrics.seconds_before + self.seconds, 3), stage, what, detail))

    def _send(self, peer: str, message: Message) -> None:
        self._transport.send(peer, replace(message, run=self.attempt.attempt_id))
