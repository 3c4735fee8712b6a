"""Adaptive and corrected feedback in a simulated cluster: how much truth the links allow; nothing is lost with the rest."""

import pytest

from decoupled.runtime.report import Report
from decoupled.transport.simulated import Faults
from tests.cluster import Cluster
from tests.datasets import blobs
from tests.runtime.small_runs import EPOCHS, TRAIN, a_run, check_account, cluster_of, run_until


def report_of(cluster: Cluster) -> Report:
    cluster.run()
    return cluster.coordinator.report()


def adaptive(**values: object) -> dict[str, object]:
    return {"feedback": "adaptive"} | values


def shares(latency_s: float, **dni: object) -> list[float]:
    """Of true gradients, by stage, over links of that latency."""
    run = a_run(epochs=40, dni=adaptive(**dni), link={"window": 32})
    cluster = Cluster(run, blobs(train=TRAIN, test=30), 0, Faults(latency_s=latency_s), action_s=0.01)
    return [detail.truth for detail in report_of(cluster).workers_detail]


def test_on_fast_links_nearly_all_gradients_are_true() -> None:
    assert all(share > 0.9 for share in shares(0.0001))


def test_on_slow_links_stages_go_on_by_guesses() -> None:
    near, far = shares(0.001), shares(0.2)

    assert near[0] > far[0]
    assert 0 < far[0] < 0.7
    assert far[-1] == 1.0, "the last stage has the loss itself"


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_share_is_a_bound(share: float) -> None:
    assert shares(0.0001, share=share)[:-1] == pytest.approx([share] * 2, abs=0.03)


WHILE_ROOM = pytest.mark.parametrize("feedback", ["adaptive", "corrected"])


@WHILE_ROOM
def test_it_learns(feedback: str) -> None:
    report = report_of(Cluster(a_run(hidden=(16, 16, 16), epochs=12, batch=20, dni={"feedback": feedback}), blobs()))

    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9


@WHILE_ROOM
def test_lost_and_doubled_gradients_cost_no_sample(seed: int, feedback: str) -> None:
    run = a_run(dni={"feedback": feedback, "stash_max": 3}, runtime={"evaluate_every": 1}, checkpoint={"every": 5})

    report = report_of(cluster_of(run, seed, drop=0.3, duplicate=0.2, jitter_s=0.05))

    assert [detail.samples for detail in report.workers_detail] == [EPOCHS * TRAIN] * 3
    assert [evaluation.epoch for evaluation in report.evaluations] == [1, 2, 3]


@WHILE_ROOM
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_lost_worker_is_replaced_and_every_sample_accounted_for(stage: int, feedback: str) -> None:
    cluster = cluster_of(a_run(dni={"feedback": feedback}, checkpoint={"every": 7}))
    run_until(cluster, 130)

    cluster.kill(stage)
    report = report_of(cluster)

    assert [incident.what for incident in report.incidents] == ["lost", "rejoined"]
    check_account(report)
