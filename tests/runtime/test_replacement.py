"""Workers that are lost, in a simulated cluster: who goes on, from what, and what the account says."""

import random
from typing import Any

import numpy as np
import pytest

from decoupled.config import PIPELINES
from tests.cluster import Cluster, MemoryStore
from tests.runtime.small_runs import EPOCHS, TRAIN, a_run, check_account, cluster_of, run_until


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("feedback", ["chained", "bootstrapped"])
def test_under_dni_a_lost_stage_is_replaced_and_its_neighbours_go_on(stage: int, feedback: str) -> None:
    cluster = cluster_of(a_run(dni={"feedback": feedback}, checkpoint={"every": 6}))
    run_until(cluster, 120)
    neighbours = [worker for number, worker in enumerate(cluster.workers) if number != stage]

    cluster.kill(stage)
    cluster.run()
    report = cluster.coordinator.report()

    assert len(cluster.workers) == 4
    assert all(worker in cluster.alive for worker in neighbours), "neighbours never restart"
    assert [(d.restarts, d.generation) for d in report.workers_detail] == [(int(i == stage),) * 2 for i in range(3)]
    assert [incident.what for incident in report.incidents] == ["lost", "rejoined"]
    assert 0 < report.workers_detail[stage].missed < 20, "the checkpoint spared it most"
    check_account(report)


@pytest.mark.parametrize("schedule", ["dni", "local", "lockstep", "gpipe", "1f1b", "async1f1b", "2bw"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_rollback_takes_all_stages_back_and_every_sample_is_trained_on(schedule: str, stage: int) -> None:
    parts = {"microbatches": 2} if schedule in PIPELINES else {}
    cluster = cluster_of(a_run(schedule=schedule, supervision={"on_failure": "rollback"}, checkpoint={"every": 7}, **parts))
    run_until(cluster, 130)

    cluster.kill(stage)
    cluster.run()
    report = cluster.coordinator.report()

    assert [incident.what for incident in report.incidents] == ["lost", "rolled back", "rejoined"]
    assert [(d.samples, d.missed) for d in report.workers_detail] == [(EPOCHS * TRAIN, 0)] * 3
    assert [d.generation for d in report.workers_detail] == [1, 1, 1]
    check_account(report)


@pytest.mark.parametrize("schedule", ["lockstep", "gpipe", "1f1b"])
def test_after_a_rollback_the_result_is_that_of_a_quiet_run_bit_for_bit(schedule: str) -> None:
    run = a_run(schedule=schedule, checkpoint={"every": 5}, runtime={"evaluate_every": 1})
    quiet, troubled = cluster_of(run), cluster_of(run)
    quiet.run()
    for samples in (80, 200):
        run_until(troubled, samples)
        troubled.kill(samples % 3)
    troubled.run()

    expected, found = quiet.coordinator.report(), troubled.coordinator.report()
    for name, array in expected.network.arrays.items():
        np.testing.assert_array_equal(found.network.arrays[name], array, err_msg=name)
    assert [(e.epoch, e.loss) for e in found.evaluations] == [(e.epoch, e.loss) for e in expected.evaluations]


@pytest.mark.parametrize("schedule", ["lockstep", "1f1b", "dni"])
def test_a_coordinator_that_is_lost_is_resumed_from_the_last_checkpoint(schedule: str) -> None:
    run = a_run(schedule=schedule, checkpoint={"every": 5}, runtime={"evaluate_every": 1})
    quiet, store = cluster_of(run), MemoryStore()
    quiet.run()
    first = cluster_of(run, store=store)
    run_until(first, 200)

    second = cluster_of(run, store=store)
    second.run()

    expected, found = quiet.coordinator.report(), second.coordinator.report()
    assert [e.epoch for e in found.evaluations] == [1, 2, 3]
    assert [(d.samples, d.missed) for d in found.workers_detail] == [(EPOCHS * TRAIN, 0)] * 3
    if schedule != "dni":
        for name, array in expected.network.arrays.items():
            np.testing.assert_array_equal(found.network.arrays[name], array, err_msg=name)
    check_account(found)


def test_a_snapshot_does_not_change_what_is_learnt() -> None:
    often, never = (cluster_of(a_run(schedule="lockstep", checkpoint=options)) for options in ({"every": 1}, {"every_s": 0}))

    often.run()
    never.run()

    assert len(often.store.saved) > 3
    assert not never.store.saved
    for name, array in never.coordinator.report().network.arrays.items():
        np.testing.assert_array_equal(often.coordinator.report().network.arrays[name], array, err_msg=name)


def test_evaluations_that_were_lost_with_a_worker_are_made_again() -> None:
    cluster = cluster_of(a_run(runtime={"evaluate_every": 1}, checkpoint={"every": 6}))
    run_until(cluster, TRAIN)
    while not any(counters.updates == 12 for counters in [cluster.alive[0].counters] if counters):
        cluster.advance()

    cluster.kill(1)
    cluster.run()

    report = cluster.coordinator.report()
    assert [evaluation.epoch for evaluation in report.evaluations] == [1, 2, 3]
    check_account(report)


def test_whatever_dies_when_every_sample_is_accounted_for(seed: int) -> None:
    """Any schedule and overflow, stages that die at any moment, several at once, gradients lost, late and twice."""
    rng = random.Random(seed)
    cluster = any_cluster(rng, seed)
    cluster.assemble()
    for _ in range(rng.randint(1, 4)):
        for _ in range(rng.randint(0, 60)):
            cluster.advance()
        for stage in rng.sample(range(3), rng.choice([1, 1, 1, 2, 3])):
            if cluster.coordinator.group.members.workers[stage] is not None and not cluster.coordinator.is_done:
                cluster.kill(stage)

    cluster.run()

    run, report = cluster.resolved.run, cluster.coordinator.report()
    assert report.evaluations[-1].epoch == EPOCHS
    check_account(report)
    if run.rolls_back and run.dni.overflow == "block":
        assert [detail.missed for detail in report.workers_detail] == [0] * 3


def any_cluster(rng: random.Random, seed: int) -> Cluster:
    schedule = rng.choice(["dni", "dni", "dni", "lockstep", "gpipe", "1f1b", "async1f1b", "2bw"])
    values: dict[str, Any] = {
        "schedule": schedule,
        "checkpoint": {"every": rng.choice([1, 4, 9, 1000])},
        "runtime": {"evaluate_every": rng.choice([0, 1])},
    }
    supervision: dict[str, Any] = {"restarts_max": 100, "backoff_s": rng.choice([0.0, 0.05, 1.0])}
    if schedule != "dni":
        return cluster_of(a_run(**values, supervision=supervision), seed)
    values["dni"] = {
        "feedback": rng.choice(["chained", "bootstrapped"]),
        "overflow": rng.choice(["block", "drop-oldest", "latest"]),
        "stash_max": rng.choice([1, 3]),
        "patience_s": rng.choice([0.2, 60]),
    }
    supervision["on_failure"] = rng.choice(["continue", "continue", "rollback"])
    hints: dict[str, Any] = {"drop": rng.choice([0, 0.3]), "duplicate": rng.choice([0, 0.3]), "jitter_s": rng.choice([0, 0.02])}
    return cluster_of(a_run(**values, supervision=supervision), seed, **hints)


def test_a_run_resumed_from_any_checkpoint_makes_every_evaluation(seed: int) -> None:
    """Also from one that was made just after an evaluation was lost with a worker."""
    run = a_run(runtime={"evaluate_every": 1}, checkpoint={"every": 1, "keep": 100})
    cluster = cluster_of(run, seed)
    run_until(cluster, TRAIN)
    for _ in range(seed % 6):
        cluster.advance()
    cluster.kill(1 + seed % 2)
    cluster.run()

    saved = cluster.store.saved
    for checkpoint in random.Random(seed).sample(saved, min(len(saved), 5)):
        store = MemoryStore()
        store.save(checkpoint)
        resumed = cluster_of(run, seed, store)
        resumed.run()
        assert [evaluation.epoch for evaluation in resumed.coordinator.report().evaluations] == [1, 2, 3]
