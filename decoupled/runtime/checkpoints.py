"""The checkpoint coordinator: when a snapshot begins, its parts as one checkpoint, and the state that stages go on from."""

from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from decoupled.checkpoint import Checkpoint, StageState
from decoupled.config import CheckpointOptions
from decoupled.errors import UsageError
from decoupled.runtime.chunks import Chunks, into_chunks
from decoupled.runtime.data_stream import Cursor, DataStream
from decoupled.runtime.snapshot_barrier import SnapshotBarrier
from decoupled.telemetry.evaluations import Evaluation
from decoupled.telemetry.incidents import Incident
from decoupled.wire.codec import MESSAGE_BYTES_MAX
from decoupled.wire.messages import Kind, Message


class Storing(Protocol):
    """Where checkpoints are kept."""

    @property
    def is_busy(self) -> bool: ...
    @property
    def last_saved(self) -> int | None: ...
    def save(self, checkpoint: Checkpoint) -> None: ...
    def load(self) -> Future[Checkpoint | None]: ...
    def load_stage(self, stage: int, up_to: int) -> Future[StageState | None]: ...
    def pass_on_warnings(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run stood at a checkpoint, beside its stages' states."""

    fed: Cursor
    evaluations: tuple[Evaluation, ...] = ()
    seconds: float = 0.0  # of training
    generations: tuple[int, ...] = ()
    incidents: tuple[Incident, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        nested = {name: [asdict(one) for one in getattr(self, name)] for name in ("evaluations", "incidents")}
        return nested | {"fed": self.fed.to_json(), "seconds": self.seconds, "generations": list(self.generations)}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "RunState":
        """Raises UsageError when a checkpoint says nothing of the kind."""
        about = checkpoint.about
        try:
            return cls(
                fed=Cursor.from_json(about["fed"]),
                evaluations=tuple(Evaluation(**one) for one in about["evaluations"]),
                seconds=float(about["seconds"]),
                generations=tuple(map(int, about["generations"])),
                incidents=tuple(Incident(**one) for one in about["incidents"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            sentence = f"The checkpoint after microbatch {checkpoint.microbatch} does not say how its run stood: {error!r}."
            raise UsageError(sentence) from None


class CheckpointCoordinator:
    """Makes the checkpoints of one run, one at a time."""

    def __init__(self, stages: int, store: Storing, options: CheckpointOptions) -> None:
        self._store = store
        self._barrier = SnapshotBarrier(stages, options.every, options.every_s)
        self._parts = [Chunks() for _ in range(stages)]
        self._fed: Cursor | None = None  # when the marker was sent; None for one that is not to be kept
        self._evaluations: tuple[Evaluation, ...] = ()
        self._last = stages - 1

    @property
    def last_saved(self) -> int | None:
        """The microbatch after which the last checkpoint was made that is whole; None before the first."""
        return self._store.last_saved

    def begin(self, now: float, microbatch: int) -> None:
        """Training begins, or goes on, after that microbatch."""
        self.give_up()
        self._barrier.begin_at(now, microbatch)

    def want(self) -> None:
        """A snapshot is to be made as soon as it can."""
        self._barrier.want()

    def wants_marker(self, stream: DataStream, now: float) -> bool:
        """Whether a marker is to be sent before anything else is fed."""
        if not self._barrier.is_due(stream.fed.number - 1, now) or self._store.is_busy:
            return False
        return stream.is_between_minibatches or stream.is_idle

    def mark(self, stream: DataStream, now: float) -> int:
        """The marker is sent; gives the microbatch that it follows. At the end of the feed there is nothing left to keep."""
        self._fed = stream.fed.copy() if stream.is_between_minibatches else None
        self._parts = [Chunks() for _ in self._parts]
        self._barrier.begin(stream.fed.number - 1, now)
        return stream.fed.number - 1

    def take(self, stage: int, message: Message, state: RunState, owes: bool) -> bool:
        """A piece of a stage's snapshot is here; says whether it was the last stage's last.

        By then everything that was fed before the marker has come out at the end, or never will. If an evaluation is still
        owed then, the snapshot is not kept, for a run resumed from it would never make that; another one is wanted.
        """
        if not self._barrier.waits_for(stage, message.microbatch):
            return False
        part = self._parts[stage]
        part.add(message)
        if not part.is_whole:
            return False
        if stage == self._last:
            self._evaluations = state.evaluations
            if owes:
                self._fed = None
                self.want()
        if self._barrier.add(stage, message.microbatch) and self._fed is not None:
            whole = RunState(self._fed, self._evaluations, state.seconds, state.generations, state.incidents)
            arrays, abouts = [part.arrays for part in self._parts], [part.about for part in self._parts]
            self._parts = [Chunks() for _ in self._parts]  # the arrays are large: whoever saves them has them alone
            self._store.save(Checkpoint(message.microbatch, arrays, abouts, whole.to_json()))
        return stage == self._last

    def give_up(self) -> None:
        """A marker was lost with a worker."""
        self._barrier.give_up()

    def load(self) -> Future[Checkpoint | None]:
        """Begins to read the checkpoint that all go on from; None: the beginning."""
        return self._store.load()

    def load_stage(self, stage: int, up_to: int) -> Future[StageState | None]:
        """Begins to read what one stage goes on from in a run that was fed up to a microbatch; None: the beginning."""
        return self._store.load_stage(stage, up_to)

    def pass_on_warnings(self) -> None:
        """Has the store say what went wrong with checkpoints."""
        self._store.pass_on_warnings()


def state_messages(state: StageState | None, message_bytes_max: int = MESSAGE_BYTES_MAX) -> list[Message]:
    """What tells a worker the state that its stage has to go on from; nothing, if from the beginning."""
    return [] if state is None else into_chunks(Kind.STATE, state.arrays, state.about, message_bytes_max=message_bytes_max)
