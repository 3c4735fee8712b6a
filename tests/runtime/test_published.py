"""What the last stage publishes for the heads before it: when, how far up it goes, and what happens to what it cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import user_code
from decoupled.config import Run
from decoupled.errors import RunFailed
from decoupled.runtime.executor import DOWNSTREAM, UPSTREAM, Outgoing
from decoupled.runtime.publication import Publication
from decoupled.runtime.worker import Worker
from decoupled.tensors import Array, Tensors
from decoupled.transport.simulated import SimulatedNetwork
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster
from tests.runtime.strangers import says
from tests.runtime.test_model import data

TOY = Path(__file__).parents[1] / "toy_model.py"


@pytest.fixture(autouse=True)
def _allowed() -> None:
    user_code.allow(str(TOY))


def cluster_of(**values: Any) -> Cluster:
    """Four stages of the toy model, of which the last publishes its weights; ten updates an epoch."""
    return Cluster(Run(**{"model": f"{TOY}:ToyModel", "epochs": 3, "batch": 20, "heads": {"publish_every": 4}} | values), data())


def stage_of(worker: Worker) -> Any:
    assert worker._session is not None
    return worker._session._executor.stage


def adopted(cluster: Cluster) -> list[Tensors]:
    """By the stages before the last that are alive."""
    by_place = sorted((worker._session._place.stage, stage_of(worker).adopted) for worker in cluster.alive if worker._session)
    return [tensors for _, tensors in by_place[:-1]]


def weights_published(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> dict[int, Array]:
    """The last stage's weights after each update, once the cluster has run."""
    last, found = stage_of(cluster.workers[3]), dict[int, Array]()
    step = last.step

    def noted(samples: int) -> None:
        step(samples)
        found[last.version] = last.published()[0]

    monkeypatch.setattr(last, "step", noted)
    return found


def test_every_stage_before_the_last_has_what_it_published_last(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_of()
    cluster.assemble()
    published = weights_published(cluster, monkeypatch)

    cluster.run()

    for (weight,) in adopted(cluster):
        np.testing.assert_array_equal(weight, published[28])


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_new_link_brings_the_newest_before_the_next_is_due(stage: int) -> None:
    """A replacement has it as well, and whoever it passes it on to."""
    cluster = cluster_of(heads={"publish_every": 10**6})
    cluster.assemble()
    before = stage_of(cluster.workers[3]).published()[0]
    for _ in range(100):
        cluster.advance()

    cluster.kill(stage)
    cluster.run()

    assert cluster.coordinator.metrics.incidents
    if stage == 2:
        assert all(not np.array_equal(weight, before) for (weight,) in adopted(cluster))
    else:
        assert all(len(tensors) == 1 for tensors in adopted(cluster))


def test_a_link_that_breaks_loses_nothing_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_of()
    cluster.assemble()
    published = weights_published(cluster, monkeypatch)
    for _ in range(60):
        cluster.advance()

    cluster.cut(1, 0.2)
    cluster.run()

    for (weight,) in adopted(cluster):
        np.testing.assert_array_equal(weight, published[28])


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_stage_that_is_stopped_is_sent_one_however_many_are_published(stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are published meanwhile the newest is sent when it goes on."""
    link = {"window": 8, "high_water_mark": 100}
    cluster = cluster_of(heads={"publish_every": 1}, link=link, supervision={"stall_timeout_s": 1e6})
    cluster.assemble()
    published = weights_published(cluster, monkeypatch)
    stopped, below, sent = cluster.address(stage), cluster.address(stage + 1), list[Tensors]()
    cluster.network.busy_until[below] = cluster.network.now + 1  # so that there is much in its inbox
    cluster.settle()
    carry = SimulatedNetwork.carry

    def listen(network: SimulatedNetwork, sender: str, peer: str, message: Message) -> None:
        if message.kind is Kind.PUBLISHED and sender == below:
            sent.append(message.tensors)
        carry(network, sender, peer, message)

    monkeypatch.setattr(SimulatedNetwork, "carry", listen)
    cluster.network.busy_until[stopped] = cluster.network.now + 100
    while cluster.network.now < 50:
        cluster.settle()
        cluster._move_on()
    assert len(published) > 4
    assert len(sent) <= 1

    cluster.run()

    np.testing.assert_array_equal(sent[-1][0], published[30])
    for (weight,) in adopted(cluster):
        np.testing.assert_array_equal(weight, published[30])


def test_the_newest_replaces_the_one_that_waits_until_the_one_before_was_taken() -> None:
    first, second, third = ((np.full(1, value),) for value in range(3))
    publication = Publication()

    assert publication.offer(first) == first
    assert publication.offer(second) == ()
    assert publication.offer(third) == ()
    assert publication.taken() == third
    assert publication.taken() == ()
    assert publication.offer(first) == first


def test_a_new_link_is_not_waited_on_for_what_was_sent_by_the_one_before() -> None:
    first, second = ((np.full(1, value),) for value in range(2))
    publication = Publication()
    assert publication.renewed() == ()
    publication.offer(first)
    publication.offer(second)

    assert publication.renewed() == second
    assert publication.offer(first) == ()
    assert publication.taken() == first


def test_a_stage_says_that_it_has_taken_over_what_it_passes_on() -> None:
    cluster = cluster_of()
    cluster.assemble()
    session = cluster.workers[2]._session
    assert session is not None
    executor, weights = session._executor, stage_of(cluster.workers[3]).published()

    def kinds(outgoing: list[Outgoing]) -> list[tuple[str, Kind]]:
        return [(role, message.kind) for role, message in outgoing]

    executor.welcome()
    executor.adopted()
    assert kinds(executor.adopt(weights)) == [(DOWNSTREAM, Kind.ADOPTED), (UPSTREAM, Kind.PUBLISHED)]
    assert kinds(executor.adopt(weights)) == [(DOWNSTREAM, Kind.ADOPTED)]
    assert kinds(executor.adopted()) == [(UPSTREAM, Kind.PUBLISHED)]


def test_schedules_without_heads_publish_nothing() -> None:
    cluster = cluster_of(schedule="lockstep")
    cluster.run()
    assert adopted(cluster) == [(), (), ()]


@pytest.mark.parametrize("tensors", [(), (np.zeros((5, 4)),), (np.zeros((5, 3)), np.zeros(3))])
def test_what_it_cannot_be_ends_the_worker_with_a_sentence(tensors: Tensors) -> None:
    cluster = cluster_of()
    cluster.assemble()
    above = next(peer for at, peer in cluster.network.links if at == "memory://1" and peer.startswith("upstream"))

    says(cluster, "memory://1", above, Message(Kind.PUBLISHED, tensors=tensors))

    with pytest.raises(RunFailed, match=r"downstream-.* sent a malformed published message"):
        cluster.settle()
