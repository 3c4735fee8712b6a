"""A run's limits reach every socket, also those of workers that were started without knowing them: over real sockets."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Dataset
from decoupled.errors import RunFailed
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.process import limits
from decoupled.runtime.resolve import resolve
from decoupled.runtime.worker import Worker
from decoupled.transport.interface import Disconnected, Limits
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.messages import Kind, Message
from tests.cluster import MemoryStore
from tests.tap import Tap
from tests.transport.sockets import until

FEW = Limits(message_bytes_max=40_000)  # stands for the default, which is too much for a quick test


def wide(rows: int = 40, features: int = 800) -> Dataset:
    """Whose batches of 32 are 102,400 bytes."""
    x, y = np.random.default_rng(0).standard_normal((rows + 8, features)), np.arange(rows + 8) % 2
    return from_mapping({"x_train": x[:rows], "y_train": y[:rows], "x_test": x[rows:], "y_test": y[rows:]}, "wide")


class Cluster:
    """A coordinator and the two workers of its run, which begin with other limits than the run's."""

    def __init__(self, stack: ExitStack, folder: Path, scheme: str, workers_limits: Limits, **link: float) -> None:
        self._stack = stack
        self.run = Run(hidden=(400,), epochs=1, batch=32, link=link, network={"batch_norm": False}, checkpoint={"every": 1})
        self.store = MemoryStore()
        self.hub = self._transport(limits(self.run.link))
        self.where = where = self.hub.bind(f"ipc://{folder}/hub" if scheme == "ipc" else "tcp://127.0.0.1:*")
        self.coordinator = Coordinator(resolve(self.run, wide()), self.hub, self.store)
        self.tap = Tap(where) if scheme == "tapped" else None
        self.transports = [self._transport(workers_limits) for _ in range(2)]
        self.workers = [Worker(transport) for transport in self.transports]
        for number, worker in enumerate(self.workers):
            inbox = f"ipc://{folder}/inbox-{number}" if scheme == "ipc" else "tcp://127.0.0.1:*"
            worker.join(self.tap.address if self.tap else where, inbox, f"worker-{number}")
        if self.tap is not None:
            stack.callback(self.tap.close)

    def _transport(self, of: Limits) -> ZeroMQ:
        transport = ZeroMQ(of)
        self._stack.callback(transport.close)
        return transport

    def poll(self, timeout_s: float) -> list[object]:
        """A turn of everybody."""
        self.coordinator.step(0.001)
        for worker in self.workers:
            worker.step()
        if self.tap is not None:
            self.tap.poll(0)
        return []

    def go_on(self, enough: Callable[[], bool]) -> None:
        until(lambda _: enough(), self)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dcp")))


@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_messages_above_what_a_worker_began_with_pass_in_every_direction(stack: ExitStack, folder: Path, scheme: str) -> None:
    """The feed, activations and gradients, snapshots, results: each of 51,200 bytes or more."""
    cluster = Cluster(stack, folder, scheme, FEW, message_bytes_max=1 << 20, silence_s=20)

    cluster.go_on(lambda: cluster.coordinator.is_done)

    assert cluster.coordinator.metrics.incidents == ()
    assert cluster.store.saved
    assert [transport.limits for transport in cluster.transports] == [limits(cluster.run.link)] * 2


def test_a_worker_whose_limits_are_the_runs_joins_at_once(stack: ExitStack, folder: Path) -> None:
    cluster = Cluster(stack, folder, "tcp", Limits())

    cluster.go_on(lambda: cluster.coordinator.is_training)

    assert sorted(worker.peer for worker in cluster.coordinator.group.members.taken) == ["worker-0", "worker-1"]


def test_workers_notice_in_the_runs_time_that_the_coordinator_is_silent(stack: ExitStack, folder: Path) -> None:
    """They began with the default of 30 s; the test would end before that."""
    cluster = Cluster(stack, folder, "tapped", Limits(), silence_s=0.5)
    cluster.go_on(lambda: cluster.coordinator.is_training)
    assert cluster.tap is not None

    noticed = 0
    for transport in cluster.transports:  # nothing passes any more by the tap, which is not polled
        until(lambda heard: Disconnected("coordinator") in heard, transport)
        noticed += 1

    assert noticed == 2


def test_one_who_asks_on_with_other_limits_is_told_once(stack: ExitStack, folder: Path) -> None:
    cluster = Cluster(stack, folder, "tcp", Limits())
    stranger = ZeroMQ()
    stack.callback(stranger.close)
    stranger.connect("hub", cluster.where, "stranger")
    for _ in range(50):
        stranger.send("hub", Message(Kind.JOIN, body={"limits": {"silence_s": 1}}))
    stranger.send("hub", Message(Kind.ASK))

    heard = until(lambda heard: any(arrival.message.kind is Kind.ANSWER for arrival in heard), stranger, cluster)  # type: ignore[union-attr]

    assert [arrival.message.kind for arrival in heard] == [Kind.LIMITS, Kind.ANSWER]  # type: ignore[union-attr]


@pytest.mark.parametrize("body", [{"silence_s": 1e9}, {"high_water_mark": "many"}, {"silence_s": 1, "more": 2}])
def test_limits_that_are_none_are_one_sentence(body: dict[str, object], stack: ExitStack) -> None:
    hub, transport = ZeroMQ(), ZeroMQ()
    stack.callback(hub.close)
    stack.callback(transport.close)
    worker = Worker(transport)
    worker.join(hub.bind("tcp://127.0.0.1:*"), "tcp://127.0.0.1:*", "worker")
    until(lambda heard: bool(heard), hub, transport)

    hub.send("worker", Message(Kind.LIMITS, body=body))

    with pytest.raises(RunFailed, match="malformed limits message"):
        until(lambda _: False, _Steps(worker), hub)


class _Steps:
    """A worker that takes its turns while it is polled."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def poll(self, timeout_s: float) -> list[object]:
        self._worker.step()
        return []
