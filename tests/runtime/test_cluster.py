"""A whole run on the simulated network: what is learnt, what is equal, and what faults do not break."""

from itertools import count
from typing import Any

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.data.dataset import Dataset
from decoupled.errors import Diverged, RunFailed
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import resolve
from decoupled.runtime.single import train_single
from decoupled.transport.simulated import Faults
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster
from tests.datasets import blobs, prices


def a_run(**values: object) -> Run:
    return Run(**{"hidden": (16, 16, 16), "epochs": 8, "batch": 20} | values)


def trained(run: Run, seed: int = 0, faults: Faults | None = None) -> Report:
    cluster = Cluster(run, blobs(), seed, faults)
    cluster.run()
    return cluster.coordinator.report()


@pytest.mark.parametrize("stages", [None, ((0, 1), (2, 3)), ((0,), (1, 2, 3))])
def test_lockstep_gives_the_same_weights_as_single_bit_for_bit(stages: tuple[tuple[int, ...], ...] | None) -> None:
    cluster = Cluster(a_run(schedule="lockstep", stages=stages), blobs())
    cluster.run()
    alone = train_single(Cluster(a_run(schedule="single"), blobs()).resolved, lambda progress: None)

    there = cluster.coordinator.report().network.arrays
    assert there.keys() == alone.network.arrays.keys()
    for name, array in alone.network.arrays.items():
        assert (array == there[name]).all(), name


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("microbatches", [1, 3, 4])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_pipeline_gives_the_weights_of_single(schedule: str, microbatches: int, optimiser: str) -> None:
    """The gradients of the parts add up to that of the batch; only the order of the sums differs."""
    values = {"network": {"batch_norm": False, "dtype": "float64"}, "optimiser": {"name": optimiser}, "epochs": 3, "batch": 30}
    there = trained(a_run(schedule=schedule, microbatches=microbatches, **values)).network.arrays
    alone = train_single(Cluster(a_run(schedule="single", **values), blobs()).resolved, lambda progress: None).network.arrays

    assert there.keys() == alone.keys()
    for name, array in alone.items():
        np.testing.assert_allclose(there[name], array, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("stages", [None, ((0, 1), (2, 3))])
def test_a_pipeline_over_workers_gives_the_weights_of_one_worker_bit_for_bit(
    schedule: str, stages: tuple[tuple[int, ...], ...] | None
) -> None:
    """With batch norm, whose running statistics follow each microbatch in turn."""
    alone = trained(a_run(schedule=schedule, microbatches=3, workers=1)).network.arrays
    there = trained(a_run(schedule=schedule, microbatches=3, stages=stages), faults=Faults(latency_s=0.01)).network.arrays

    assert there.keys() == alone.keys()
    for name, array in alone.items():
        assert (array == there[name]).all(), name


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_a_pipeline_makes_one_update_for_each_batch_and_trains_on_every_sample(schedule: str) -> None:
    report = trained(a_run(schedule=schedule, microbatches=4, epochs=12))

    assert report.updates == 12 * 10
    assert [detail.samples for detail in report.workers_detail] == [12 * 200] * 4
    assert [detail.staleness_max for detail in report.workers_detail] == [0] * 4
    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
@pytest.mark.parametrize("feedback", ["chained", "bootstrapped"])
def test_with_a_slow_link_outputs_are_dropped_and_the_first_stage_trains_on_everything(overflow: str, feedback: str) -> None:
    """A round trip takes longer than the first stage needs to fill the inbox below it."""
    options = {"overflow": overflow, "feedback": feedback, "stash_max": 4}
    cluster = Cluster(a_run(dni=options, link={"window": 2}, epochs=20), blobs(), faults=Faults(latency_s=0.01))
    slowed = cluster.workers[1].step
    turns = count()
    cluster.workers[1].step = lambda: next(turns) % 5 == 0 and slowed()  # type: ignore[method-assign]
    cluster.run()
    report = cluster.coordinator.report()

    samples, dropped = ([getattr(d, name) for d in report.workers_detail] for name in ("samples", "dropped"))
    assert samples[0] == 20 * 200
    assert samples == sorted(samples, reverse=True)
    assert dropped[0] > 0
    assert dropped[3] == 0
    assert samples[1] == 20 * 200 - 20 * dropped[0]
    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9


@pytest.mark.parametrize("head", ["readout", "linear", "linear-label", "mlp-label"])
def test_every_head_trains_through_the_whole_pipeline(head: str) -> None:
    report = trained(a_run(head=head, epochs=20))

    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9
    assert report.updates == 20 * 10
    assert [detail.samples for detail in report.workers_detail] == [20 * 200] * 4


@pytest.mark.parametrize("feedback", ["chained", "bootstrapped"])
@pytest.mark.parametrize("width", [0, 16])
def test_every_form_of_readout_and_feedback_learns(feedback: str, width: int) -> None:
    report = trained(a_run(dni={"feedback": feedback}, heads={"width": width}, epochs=12))

    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9
    cosines = [detail.head_cosine for detail in report.workers_detail]
    assert cosines[3] is None
    assert all(cosine is not None and cosine > 0.1 for cosine in cosines[:3]), cosines


@pytest.mark.parametrize("data", [blobs(), prices(), prices(outputs=3)], ids=["classes", "values", "three values"])
def test_the_evaluation_by_the_workers_is_the_trained_networks_own(data: Dataset) -> None:
    cluster = Cluster(a_run(), data)
    cluster.run()
    report = cluster.coordinator.report()

    own = report.network.evaluate(data.x_test, data.targets.restored(data.y_test))

    assert report.test_accuracy == own.accuracy
    assert report.test_loss == pytest.approx(own.loss, rel=1e-4)
    theirs = [report.test_r2 or 0.0, report.test_mae or 0.0]
    assert theirs == pytest.approx([own.r2 or 0.0, own.mae or 0.0], rel=1e-4, abs=1e-6)
    assert (own.r2 is None) == (own.mae is None) == (own.accuracy is not None)


def test_the_same_seed_gives_the_same_run_message_by_message() -> None:
    first, again = (trained(a_run(), seed=3, faults=Faults(latency_s=0.01, jitter_s=0.05, drop=0.1)) for _ in range(2))

    assert all((first.network.arrays[name] == again.network.arrays[name]).all() for name in first.network.arrays)
    assert [d.staleness_mean for d in first.workers_detail] == [d.staleness_mean for d in again.workers_detail]


@pytest.mark.parametrize("feedback", ["chained", "bootstrapped"])
def test_lost_doubled_and_late_gradients_are_counted_and_stop_nothing(feedback: str) -> None:
    run = a_run(feedback_every=1, dni={"feedback": feedback, "patience_s": 1.0}, epochs=12)
    report = trained(run, seed=1, faults=Faults(latency_s=0.01, jitter_s=0.1, drop=0.3, duplicate=0.3))

    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9
    assert [detail.samples for detail in report.workers_detail] == [12 * 200] * 4
    assert sum(detail.evicted for detail in report.workers_detail) > 0
    assert sum(detail.unmatched_gradients for detail in report.workers_detail) > 0


def test_a_partition_stops_what_depends_on_it_and_heals() -> None:
    cluster = Cluster(a_run(feedback_every=1, dni={"feedback": "bootstrapped"}), blobs())
    cluster.assemble()
    cluster.network.partitioned.add(frozenset(("memory://1", "memory://2")))
    cluster.settle()
    updates = [worker.counters.updates for worker in cluster.workers if worker.counters]

    assert updates[0] > updates[1] > 0
    assert updates[2:] == [0, 0]
    cluster.network.partitioned.clear()
    cluster.run()
    assert cluster.coordinator.report().updates == 8 * 10


def test_upstream_goes_on_until_its_stash_and_credit_are_used() -> None:
    """With the last link cut, the first stage still trains on what the windows behind it hold."""
    run = a_run(feedback_every=1, dni={"feedback": "bootstrapped", "stash_max": 6}, link={"window": 4})
    cluster = Cluster(run, blobs())
    cluster.assemble()
    cluster.network.partitioned.add(frozenset(("memory://2", "memory://3")))

    cluster.settle()

    updates = [worker.counters.updates for worker in cluster.workers if worker.counters]
    assert updates[0] > updates[1] > updates[2] >= 0
    assert updates[0] <= 6 + 4 + 4 + 4


def test_blocks_of_layers_train_as_well() -> None:
    report = trained(a_run(workers=2))

    assert report.workers == 2
    assert [detail.layers for detail in report.workers_detail] == [[0], [1, 2, 3]] or report.workers_detail[0].layers == [0, 1]
    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9


def test_messages_of_another_run_are_ignored() -> None:
    cluster = Cluster(a_run(epochs=1), blobs())
    cluster.settle()
    cluster.run()
    before = {name: array.copy() for name, array in cluster.coordinator.report().network.arrays.items()}

    stranger = cluster.network.endpoint()
    stranger.bind("stranger")
    stranger.connect("victim", "memory://1", "upstream")
    stranger.send("victim", Message(Kind.ACTIVATION, run="another", microbatch=10_000, body={"training": True}))
    stranger.send("victim", Message(Kind.CREDIT, run="another"))
    cluster.settle()

    after = cluster.coordinator.report().network.arrays
    assert all((before[name] == after[name]).all() for name in before)


def test_a_stage_that_fails_is_named_with_its_reason() -> None:
    cluster = Cluster(a_run(supervision={"restarts_max": 0}), blobs())
    cluster.assemble()
    cluster.workers[2].fail(RuntimeError("out of paper"))

    with pytest.raises(RunFailed, match=r"stage 2 was lost once more .*\(0\) allows.*: it failed: RuntimeError: out of paper"):
        cluster.run()


DIVERGING: dict[str, Any] = {"lr": 1e6, "optimiser": {"name": "sgd"}, "network": {"batch_norm": False}}


@pytest.mark.parametrize("schedule", ["dni", "lockstep"])
def test_a_run_that_diverges_ends_and_no_worker_is_replaced(schedule: str) -> None:
    cluster = Cluster(a_run(schedule=schedule, **DIVERGING), blobs())
    cluster.assemble()
    with pytest.raises(Diverged, match="at microbatch") as found, np.errstate(all="ignore"):
        cluster.run()
    cluster.workers[3].fail(found.value)

    with pytest.raises(Diverged, match=r"at microbatch \d+ .*lower lr"):
        cluster.coordinator.step(0)
    assert cluster.coordinator.metrics.incidents == ()


def test_a_run_in_one_process_that_diverges_ends() -> None:
    with pytest.raises(Diverged, match=r"at microbatch \d+ .*lower lr"):
        train_single(resolve(a_run(schedule="single", **DIVERGING), blobs()), lambda progress: None)


def test_a_worker_that_cannot_become_its_stage_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(assignment: object) -> None:
        raise RuntimeError("out of paint")

    monkeypatch.setattr("decoupled.runtime.worker.warm_up", refuse)
    cluster = Cluster(a_run(), blobs())
    cluster.coordinator.step(0)
    with pytest.raises(RuntimeError) as error:
        cluster.workers[1].step()
    cluster.workers[1].fail(error.value)

    with pytest.raises(RunFailed, match="The worker of stage 1 failed before training began: RuntimeError: out of paint"):
        cluster.coordinator.step(0)


@pytest.mark.parametrize("head", ["readout", "linear"])
def test_staleness_is_counted_where_a_returned_gradient_is_used(head: str) -> None:
    report = trained(a_run(head=head), faults=Faults(latency_s=0.01))

    assert all(detail.staleness_mean > 0 for detail in report.workers_detail[:3])
    assert report.workers_detail[3].staleness_max == 0


@pytest.mark.parametrize("targets", ["bits", "values"])
def test_bits_and_values_are_learnt_as_well_as_classes(targets: str) -> None:
    from decoupled.data.arrays import from_mapping

    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6)).astype(np.float32)
    y = (x[:, :3] > 0).astype(np.uint8) if targets == "bits" else (x[:, :2] * 2 + 1).astype(np.float32)
    data = from_mapping({"x_train": x[:300], "y_train": y[:300], "x_test": x[300:], "y_test": y[300:]}, targets)
    cluster = Cluster(a_run(epochs=30), data)
    cluster.run()
    report = cluster.coordinator.report()

    if targets == "bits":
        assert report.test_accuracy is not None
        assert report.test_accuracy > 0.75
    else:
        assert report.test_accuracy is None
        assert report.test_loss < 0.5 * float(np.mean(np.sum((y - y.mean(axis=0)) ** 2, axis=1))) / 2
