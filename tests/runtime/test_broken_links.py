"""Links that break between two that live, in a simulated cluster: the run ends, with checkpoints and every evaluation."""

from concurrent.futures import Future
from typing import Any

import pytest

from decoupled.checkpoint import Checkpoint, StageState
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster, MemoryStore
from tests.runtime.small_runs import EPOCHS, TRAIN, a_run, check_account, cluster_of, run_until
from tests.runtime.strangers import says

FEED, FIRST, LAST = -1, 0, 1  # the stage from which the link goes to the next; the feed is before the first


def run_to_the_end(cluster: Cluster, seconds: float) -> None:
    """Within so many seconds of its own time."""
    end = cluster.network.now + seconds
    cluster.settle()
    while not cluster.coordinator.is_done:
        assert cluster.network.now < end, "the run never ends"
        cluster._move_on()
        cluster.settle()


@pytest.mark.parametrize("away_s", [0.0, 0.3])
@pytest.mark.parametrize("overflow", ["block", "drop-oldest", "latest"])
@pytest.mark.parametrize("feedback", ["chained", "adaptive", "corrected"])
@pytest.mark.parametrize("stage", [FEED, FIRST, LAST])
def test_under_dni_a_link_that_breaks_costs_no_checkpoint_and_no_evaluation(
    stage: int, feedback: str, overflow: str, away_s: float
) -> None:
    for samples in (10, 110, 130, 250):
        run = a_run(
            epochs=3 * EPOCHS,
            dni={"overflow": overflow, "feedback": feedback},
            checkpoint={"every": 4},
            runtime={"evaluate_every": 1},
        )
        cluster = cluster_of(run)
        run_until(cluster, samples)
        saved = len(cluster.store.saved)

        cluster.cut(stage, away_s)
        run_to_the_end(cluster, 60)

        report = cluster.coordinator.report()
        assert [detail.samples + detail.samples_missed for detail in report.workers_detail] == [run.epochs * TRAIN] * 3
        assert [evaluation.epoch for evaluation in report.evaluations] == list(range(1, run.epochs + 1))
        assert len(cluster.store.saved) > saved, "checkpoints go on"
        assert "lost" not in [incident.what for incident in report.incidents]


@pytest.mark.parametrize("schedule", ["lockstep", "1f1b", "async1f1b", "2bw"])
@pytest.mark.parametrize("stage", [FEED, FIRST, LAST])
def test_otherwise_a_link_that_breaks_leads_to_one_rollback(schedule: str, stage: int) -> None:
    cluster = cluster_of(a_run(schedule=schedule, epochs=2 * EPOCHS, checkpoint={"every": 4}))
    run_until(cluster, 130)

    cluster.cut(stage)
    run_to_the_end(cluster, 60)

    report = cluster.coordinator.report()
    assert [incident.what for incident in report.incidents] == ["rolled back"]
    assert [detail.missed for detail in report.workers_detail] == [0] * 3


def test_no_marker_is_sent_before_a_stage_says_that_its_link_stands_again() -> None:
    cluster = cluster_of(a_run(checkpoint={"every": 4}))
    run_until(cluster, 40)
    broken, ready = (Message(kind, stage=1, body={"next": 0}) for kind in (Kind.BROKEN, Kind.READY))

    says(cluster, "memory://1", "coordinator", broken)
    cluster.coordinator.step(0)
    before = len(cluster.store.saved)
    run_until(cluster, 160)
    during = len(cluster.store.saved)
    says(cluster, "memory://1", "coordinator", ready)
    cluster.run()

    assert during == before
    assert len(cluster.store.saved) > during


def test_what_a_worker_says_of_a_link_in_another_generation_changes_nothing() -> None:
    cluster = cluster_of(a_run(schedule="lockstep", checkpoint={"every": 4}))
    run_until(cluster, 40)

    says(cluster, "memory://1", "coordinator", Message(Kind.BROKEN, stage=1, generation=7))
    cluster.run()

    assert not cluster.coordinator.metrics.incidents


class SlowStore(MemoryStore):
    """One in which reading takes until the test says that it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: list[tuple[Future[Any], Any]] = []

    def load(self) -> "Future[Checkpoint | None]":
        return self._begin(super().load())

    def load_stage(self, stage: int, up_to: int) -> "Future[StageState | None]":
        return self._begin(super().load_stage(stage, up_to))

    def _begin(self, read: "Future[Any]") -> "Future[Any]":
        future = Future[Any]()
        self.reading.append((future, read.result()))
        return future

    def finish(self) -> None:
        for future, value in self.reading:
            future.set_result(value)
        self.reading.clear()


def test_neighbours_go_on_while_the_checkpoint_for_a_successor_is_read() -> None:
    store = SlowStore()
    run = a_run(dni={"overflow": "latest"}, epochs=30, checkpoint={"every": 4}, runtime={"evaluate_every": 0})
    cluster = cluster_of(run, store=store)
    run_until(cluster, 60)
    cluster.kill(2)
    fed = cluster.coordinator.group.attempt.feed_link.stream.fed
    while not store.reading:
        cluster.advance()
    before = fed.number

    for _ in range(200):
        cluster.advance()
    after, incidents = fed.number, [incident.what for incident in cluster.coordinator.metrics.incidents]
    store.finish()
    cluster.run()

    assert after > before
    assert incidents == ["lost"]
    assert [incident.what for incident in cluster.coordinator.report().incidents] == ["lost", "rejoined"]


@pytest.mark.parametrize("schedule", ["dni", "lockstep"])
def test_a_worker_that_is_lost_while_a_checkpoint_is_read_is_replaced_as_well(schedule: str) -> None:
    store = SlowStore()
    cluster = cluster_of(a_run(schedule=schedule, checkpoint={"every": 4}), store=store)
    run_until(cluster, 60)
    for stage in (1, 2, 1):
        cluster.kill(stage)
        reading = len(store.reading)
        while len(store.reading) == reading:
            cluster.advance()
    while not cluster.coordinator.is_done:
        store.finish()
        cluster.advance()

    report = cluster.coordinator.report()
    what = [incident.what for incident in report.incidents]
    assert (what.count("lost"), what.count("rolled back")) == (3, int(schedule == "lockstep"))
    check_account(report)


def test_a_successor_that_never_joins_is_replaced_by_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_of(a_run(checkpoint={"every": 4}))
    run_until(cluster, 60)
    cluster.kill(1)
    start, asked = cluster.start, list[float]()

    def hang_once() -> None:
        asked.append(cluster.network.now)
        if len(asked) > 1:
            start()

    monkeypatch.setattr(cluster, "start", hang_once)
    cluster.run()

    report = cluster.coordinator.report()
    assert len(asked) == 2
    assert [(incident.stage, incident.what) for incident in report.incidents] == [(1, "lost"), (1, "lost"), (1, "rejoined")]
    assert "joined" in report.incidents[1].detail
    check_account(report)


def test_a_worker_that_joins_and_is_never_ready_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_of(a_run(checkpoint={"every": 4}))
    run_until(cluster, 60)
    cluster.kill(1)
    start = cluster.start

    def start_one_that_hangs() -> None:
        monkeypatch.undo()
        start()
        monkeypatch.setattr(cluster.workers[-1], "_hear", lambda *_: None)

    monkeypatch.setattr(cluster, "start", start_one_that_hangs)
    cluster.run()

    report = cluster.coordinator.report()
    assert [(incident.stage, incident.what) for incident in report.incidents] == [(1, "lost"), (1, "lost"), (1, "rejoined")]
    assert "not ready" in report.incidents[1].detail
    check_account(report)


@pytest.mark.parametrize("stage", [FEED, FIRST, LAST])
def test_a_link_that_never_comes_back_is_an_incident_and_costs_no_worker(stage: int) -> None:
    cluster = cluster_of(a_run(checkpoint={"every": 4}))
    run_until(cluster, 60)
    cluster.cut(stage, refuse_s=10_000)
    for _ in range(200):
        cluster.settle()
        cluster.network.now += 0.5
    name = "the coordinator" if stage == FEED else f"stage {stage}"

    (incident,) = cluster.coordinator.metrics.incidents
    assert incident.what == "link down"
    assert f"from {name} to stage {stage + 1}" in incident.detail
