"""Membership: which worker is which stage, in which generation, and which stages are ready. Pure: names, no sockets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that has joined: the name to answer to, where its inbox is, and the public key it has proven to have."""

    peer: str
    address: str
    host: str
    pid: int
    key: str = ""
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)  # as it says


class Membership:
    """Makes workers stages in the order they come; a stage whose worker has left is free for another worker."""

    def __init__(self, stages: int, version: str, generations: Sequence[int] = ()) -> None:
        """`generations` are those of a run that is resumed."""
        self._version = version
        self.workers: list[WorkerInfo | None] = [None] * stages
        self.generations = list(generations) or [0] * stages  # times each stage was assigned before
        self._linked: dict[int, int] = {}  # stages that said they are ready, and to which generation of the next stage
        self._left: set[tuple[str, int]] = set()  # hosts and processes of workers that had a stage
        self._refused: set[str] = set()  # peers that asked for a stage and are still connected

    # Who joins and leaves.

    def join(self, worker: WorkerInfo, version: str, expected: Sequence[int] = ()) -> int | str:
        """Gives a worker a stage, one for which a worker is expected if there is such; or the reason for a refusal."""
        if version != self._version:
            return (
                f"the worker has version {version:.40} of decoupled and the coordinator {self._version}; install the same on both"
            )
        if self.is_complete:
            return f"all {len(self.workers)} stages of the run are taken; start no more workers than it asks for"
        stage = next((stage for stage in expected if self.workers[stage] is None), self.workers.index(None))
        self.workers[stage] = worker
        return stage

    def refuse(self, peer: str) -> bool:
        """Says whether this is the first refusal of the peer while it is connected: one that asks on is not answered again."""
        is_first = peer not in self._refused
        self._refused.add(peer)
        return is_first

    def disconnected(self, peer: str) -> None:
        """Somebody without a stage has gone."""
        self._refused.discard(peer)

    def leave(self, stage: int) -> None:
        """Frees the stage of a worker that has gone."""
        worker, self.workers[stage] = self.workers[stage], None
        self._linked.pop(stage, None)
        if worker is not None:
            self._left.add((worker.host, worker.pid))

    def has_left(self, host: str, pid: int) -> bool:
        """Whether that process had a stage and is known to have lost it."""
        return (host, pid) in self._left

    # Who is who.

    def stage_of(self, peer: str) -> int | None:
        """The stage that a worker has, if any."""
        return next((stage for stage, worker in enumerate(self.workers) if worker is not None and worker.peer == peer), None)

    def stage_of_process(self, host: str, pid: int) -> int | None:
        """The stage that a process has, if any."""
        who = (host, pid)
        return next(
            (stage for stage, worker in enumerate(self.workers) if worker is not None and (worker.host, worker.pid) == who), None
        )

    def address(self, stage: int) -> str | None:
        """Where a stage's inbox is; "" for one that nobody has taken; None where there is no such stage."""
        if stage >= len(self.workers):
            return None
        worker = self.workers[stage]
        return worker.address if worker is not None else ""

    def key(self, stage: int) -> str:
        """The public key that a stage has proven to have; "" without keys."""
        worker = self.workers[stage] if stage < len(self.workers) else None
        return worker.key if worker is not None else ""

    @property
    def taken(self) -> list[WorkerInfo]:
        """The workers that have a stage."""
        return [worker for worker in self.workers if worker is not None]

    @property
    def is_complete(self) -> bool:
        return None not in self.workers

    # Who is ready.

    def renew(self, stages: Iterable[int]) -> None:
        """These stages are assigned anew."""
        for stage in stages:
            self.generations[stage] += 1
            self._linked.pop(stage, None)

    def ready(self, stage: int, next_generation: int) -> None:
        """A stage's link to the next stage stands, whose worker has that generation; the last stage has none to link to."""
        self._linked[stage] = next_generation

    def link_broke(self, stage: int) -> None:
        """A stage's link to the next stage broke."""
        self._linked.pop(stage, None)

    def is_ready(self, stage: int) -> bool:
        """Whether a stage has a worker that is linked to the present worker of the next stage."""
        is_last = stage == len(self.workers) - 1
        return stage in self._linked and (is_last or self._linked[stage] == self.generations[stage + 1])

    @property
    def are_all_ready(self) -> bool:
        """Whether what enters the first stage gets to the last."""
        return self.is_complete and all(map(self.is_ready, range(len(self.workers))))
