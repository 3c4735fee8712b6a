"""The rendezvous: who has joined, and which stage each is. Pure: it sees names and addresses, no sockets."""

from collections.abc import Mapping, Sequence
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


class Rendezvous:
    """Seats workers in the order they come, one for each stage; a stage that was left is free for another worker."""

    def __init__(self, stages: int, version: str) -> None:
        self._version = version
        self.workers: list[WorkerInfo | None] = [None] * stages

    def join(self, worker: WorkerInfo, version: str, expected: Sequence[int] = ()) -> int | str:
        """Seats a worker, at a stage where one is expected if there is such, and gives that; or the reason for a refusal."""
        if version != self._version:
            return (
                f"the worker has version {version:.40} of decoupled and the coordinator {self._version}; install the same on both"
            )
        if self.is_complete:
            return f"all {len(self.workers)} stages of the run are taken; start no more workers than it asks for"
        stage = next((stage for stage in expected if self.workers[stage] is None), self.workers.index(None))
        self.workers[stage] = worker
        return stage

    def leave(self, stage: int) -> None:
        """Frees the stage of a worker that has gone."""
        self.workers[stage] = None

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
