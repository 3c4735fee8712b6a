"""A whole run over real sockets with keys, in one thread: every link is encrypted, and each stage knows whom it may trust."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq

from decoupled.config import Run
from decoupled.errors import RunFailed
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.resolve import resolve
from decoupled.runtime.worker import Worker
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ
from decoupled.version import __version__
from decoupled.wire.messages import Kind, Message
from tests.cluster import MemoryStore
from tests.datasets import blobs
from tests.transport.sockets import fresh_keys, mechanisms, until

ANYWHERE = "tcp://127.0.0.1:*"


class Secured:
    """A coordinator who knows so many workers, and the workers, each with a key and a transport of its own."""

    def __init__(self, stack: ExitStack, hidden: tuple[int, ...] = (8, 8), epochs: int = 1) -> None:
        pairs = [fresh_keys() for _ in range(len(hidden) + 1)]
        own = fresh_keys(*(pair.public for pair in pairs))
        self.keys = [Keys(pair.public, pair.secret, (own.public,)) for pair in pairs]
        self._stack, self.public = stack, own.public
        self.hub = self.transport(own)
        self.address = self.hub.bind(ANYWHERE)
        members = (own.public, *own.known)
        self.hub.admit(members)
        run = Run(hidden=hidden, epochs=epochs, batch=16, feedback_every=1)
        self.coordinator = Coordinator(resolve(run, blobs()), self.hub, MemoryStore(), keys=members)
        self.transports: list[ZeroMQ] = []
        self.workers: list[Worker] = []
        self._joined = 0

    def transport(self, keys: Keys) -> ZeroMQ:
        transport = ZeroMQ(keys=keys)
        self._stack.callback(transport.close)
        return transport

    def enter(self, *numbers: int) -> None:
        """Has those workers join."""
        for number in numbers:
            self.transports.append(self.transport(self.keys[number]))
            self.workers.append(Worker(self.transports[-1]))
            self._joined += 1
            self.workers[-1].join(self.address, ANYWHERE, f"worker-{self._joined}", self.public)

    def turn(self) -> None:
        self.coordinator.step(0.001)
        for worker in self.workers:
            worker.step()

    def poll(self, timeout_s: float) -> list[object]:
        """A turn of everybody; so that a test can wait for someone else meanwhile."""
        self.turn()
        return []


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_run_trains_to_its_end_and_every_link_is_encrypted(stack: ExitStack) -> None:
    run = Secured(stack)
    run.enter(0, 1, 2)

    while not run.coordinator.is_done:
        run.turn()

    assert run.coordinator.report().test_accuracy is not None
    assert [mechanisms(transport) for transport in (run.hub, *run.transports)] == [{zmq.CURVE}] * 4
    assert {worker.key for worker in run.coordinator.group.members.taken} == {keys.public for keys in run.keys}


def test_a_known_worker_that_claims_anothers_key_is_known_by_its_own(stack: ExitStack) -> None:
    run = Secured(stack)
    liar = run.transport(run.keys[1])
    liar.connect("coordinator", run.address, "liar", run.public)
    body = {"address": "tcp://127.0.0.1:1", "version": __version__, "host": "here", "pid": 1}

    liar.send("coordinator", Message(Kind.JOIN, body=body | {"key": run.keys[0].public}))
    until(lambda _: bool(run.coordinator.group.members.taken), liar, run)

    assert [worker.key for worker in run.coordinator.group.members.taken] == [run.keys[1].public]


def test_a_worker_that_was_restarted_takes_part_with_the_same_key(stack: ExitStack) -> None:
    run = Secured(stack, hidden=(8,))
    run.enter(0)
    while not run.coordinator.group.members.taken:
        run.turn()

    run.workers.pop()
    run.transports.pop().close()
    while run.coordinator.group.members.taken:
        run.turn()
    run.enter(0, 1)
    while not run.coordinator.is_done:
        run.turn()

    assert {worker.key for worker in run.coordinator.group.members.taken} == {keys.public for keys in run.keys}


def test_a_stages_inbox_turns_strangers_away_and_the_run_goes_on(stack: ExitStack) -> None:
    run = Secured(stack)
    run.enter(0, 1, 2)
    while not run.coordinator.is_training:
        run.turn()
    inbox, stranger = run.coordinator.group.members.taken[1], run.transport(fresh_keys())
    stranger.connect("victim", inbox.address, "stranger", inbox.key)

    with pytest.raises(RunFailed, match="does not know its public key"):
        until(lambda _: False, stranger, run)

    while not run.coordinator.is_done:
        run.turn()


def test_a_successor_with_a_known_key_takes_the_place_of_a_worker_that_is_lost(stack: ExitStack) -> None:
    """Its upstream neighbour learns the new key with the new address."""
    run = Secured(stack, epochs=8)
    run.enter(0, 1, 2)
    while not run.coordinator.progress().samples:
        run.turn()

    run.workers.pop(1)
    run.transports.pop(1).close()
    while len(run.coordinator.group.members.taken) == 3:
        run.turn()
    run.enter(1)
    while not run.coordinator.is_done:
        run.turn()

    report = run.coordinator.report()
    lost, rejoined = report.incidents
    assert (lost.what, rejoined.what, rejoined.stage) == ("lost", "rejoined", lost.stage)
    assert [detail.generation for detail in report.workers_detail] == [int(stage == lost.stage) for stage in range(3)]
