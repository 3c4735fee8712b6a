"""What the last stage publishes for the heads before it: when, how far up it goes, and what happens to what it cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import user_code
from decoupled.config import Run
from decoupled.errors import RunFailed
from decoupled.runtime.worker import Worker
from decoupled.tensors import Array, Tensors
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
