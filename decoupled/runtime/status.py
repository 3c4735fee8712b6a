"""Status: a client that has no stage and wants none asks the coordinator how things stand, and is told.

An answer names no run, peer or key, so a client learns nothing by which it could pass for one that takes part.
"""

import platform
from dataclasses import dataclass
from operator import index

from decoupled.runtime.membership import WorkerInfo
from decoupled.runtime.versions import as_told, versions
from decoupled.runtime.worker_group import WorkerGroup
from decoupled.transport.address import can_be_linked
from decoupled.transport.interface import Transport
from decoupled.wire.messages import Kind, Message

ANSWERS_MAX = 16  # to one client; they fit its link's queue, so one that asks on and does not listen fills no memory
WORKERS_MAX = 256  # that are told of
TEXT_MAX = 120  # letters of a host's name or an address


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker that has a stage: where it is, and of what versions."""

    stage: int
    host: str
    address: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """How things stand with a coordinator."""

    host: str
    at_ns: int  # by its clock
    stages: int
    joined: int
    is_training: bool
    versions: dict[str, str]
    workers: tuple[WorkerStatus, ...]

    @classmethod
    def from_message(cls, message: Message) -> "Answer":
        """Raises one of MALFORMED for any other message."""
        body = message.body
        workers = tuple(
            WorkerStatus(index(one["stage"]), str(one["host"])[:TEXT_MAX], str(one["address"]), as_told(one["versions"]))
            for one in body["workers"][:WORKERS_MAX]
            if can_be_linked(str(one["address"]))
        )
        counts = (index(body["at_ns"]), index(body["stages"]), index(body["joined"]), bool(body["is_training"]))
        return cls(str(body["host"])[:TEXT_MAX], *counts, as_told(body["versions"]), workers)


class StatusService:
    """Answers clients, each so many times while its link stands."""

    def __init__(self, transport: Transport, group: WorkerGroup) -> None:
        self._transport, self._group = transport, group
        self._answered: dict[str, int] = {}  # by client that is still linked

    def ask(self, peer: str, at_ns: int) -> None:
        """A client asks; it is `at_ns` by this process's clock."""
        times = self._answered.get(peer, 0)
        if times < ANSWERS_MAX:
            self._answered[peer] = times + 1
            self._transport.send(peer, self._answer(at_ns))

    def left(self, peer: str) -> None:
        """Somebody without a stage has gone."""
        self._answered.pop(peer, None)

    def _answer(self, at_ns: int) -> Message:
        known = self._group.members.workers
        workers = [_told(stage, worker) for stage, worker in enumerate(known) if worker is not None]
        body = {
            "host": platform.node()[:TEXT_MAX],
            "at_ns": at_ns,
            "stages": len(known),
            "joined": len(workers),
            "is_training": self._group.started_at is not None,
            "versions": versions(),
            "workers": workers[:WORKERS_MAX],
        }
        return Message(Kind.ANSWER, body=body)


def _told(stage: int, worker: WorkerInfo) -> dict[str, object]:
    return {"stage": stage, "host": worker.host, "address": worker.address[:TEXT_MAX], "versions": worker.versions}
