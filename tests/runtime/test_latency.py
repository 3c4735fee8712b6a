"""Healthy gradients over slow links and from slow devices: however long they take, none is given up."""

import pytest

from decoupled.config import Run
from decoupled.transport.simulated import Faults
from tests.cluster import Cluster
from tests.datasets import blobs


@pytest.mark.parametrize("feedback", ["chained", "bootstrapped"])
@pytest.mark.parametrize("evaluate_every", [0, 1])
@pytest.mark.parametrize("every", [1, 3, 1000])
@pytest.mark.parametrize(("latency_s", "action_s"), [(0.0, 0.0), (0.06, 0.0), (0.1, 0.0), (0.5, 0.0), (0.01, 1.0), (0.5, 1.0)])
def test_no_gradient_is_given_up_while_nothing_is_lost(
    feedback: str, evaluate_every: int, every: int, latency_s: float, action_s: float
) -> None:
    """At any rate of markers and evaluations, which wait for the gradients of what came before them."""
    options = {"checkpoint": {"every": every}, "runtime": {"evaluate_every": evaluate_every}, "dni": {"feedback": feedback}}
    run = Run(hidden=(4, 4, 4), epochs=2, batch=10, feedback_every=2, supervision={"stall_timeout_s": 1e6}, **options)
    cluster = Cluster(run, blobs(train=60, test=20), faults=Faults(latency_s=latency_s), action_s=action_s)
    cluster.run()

    report = cluster.coordinator.report()
    assert [detail.evicted for detail in report.workers_detail] == [0] * 4
    assert [detail.unmatched_gradients for detail in report.workers_detail] == [0] * 4
    assert [worker.counters.refined for worker in cluster.workers if worker.counters is not None] == [6, 6, 6, 0]
    assert [detail.samples for detail in report.workers_detail] == [120] * 4
