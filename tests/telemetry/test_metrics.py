"""The metrics: what the workers' reports say together."""

import pytest

from decoupled.telemetry.counters import Counters
from decoupled.telemetry.evaluations import Part
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.metrics import RunMetrics
from decoupled.telemetry.spans import KINDS
from tests.telemetry.spans import spans

S = 1_000_000_000  # ns


def metrics() -> RunMetrics:
    return RunMetrics(((0, 1), (2,)), epochs=3, train_samples=100, test_samples=10)


def test_new_metrics_are_zero() -> None:
    progress = metrics().progress(seconds=0.0, epoch=1)

    assert (progress.samples, progress.samples_total, progress.samples_per_s, progress.overlap) == (0, 300, 0, 0)
    assert (progress.loss, progress.accuracy, progress.evaluations) == (None, None, ())
    assert [view.layers for view in progress.workers] == [(0, 1), (2,)]
    assert [view.busy for view in progress.workers] == [0, 0]
    assert metrics().seconds == 0
    assert metrics().busy(0) == 0


def test_rates_are_of_the_last_second_or_so() -> None:
    """Ten samples a second at first, a hundred lately: the first seconds are forgotten."""
    made, samples = metrics(), 0
    for half_second in range(20):
        samples += 5 if half_second < 10 else 50
        made.report(Counters(1, samples=samples), spans(), half_second * S // 2)

    assert made.views()[1].samples_per_s == pytest.approx(100)


def test_a_stage_that_went_back_to_a_checkpoint_has_no_negative_rate() -> None:
    made = metrics()
    for half_second, samples in enumerate((500, 550, 100, 150)):
        made.report(Counters(1, samples=samples), spans(), half_second * S // 2)
        assert made.views()[1].samples_per_s >= 0

    assert made.views()[1].samples_per_s == pytest.approx(100)


def test_busy_is_the_share_of_time_in_training_spans() -> None:
    made = metrics()
    made.report(Counters(0), spans(), 0)
    made.report(Counters(0), spans((0, S // 4)), S // 2)
    made.report(Counters(0), spans((S // 2, 3 * S // 4), (3 * S // 4, S)), S)
    view = made.views()[0]

    assert view.busy == pytest.approx(0.75)
    assert view.wait == pytest.approx(0.25)
    assert made.views()[1].busy == 0


def test_evaluation_does_not_count_as_busy() -> None:
    made = metrics()
    made.report(Counters(0), spans(), 0)
    made.report(Counters(0), spans((0, S), kind="evaluate"), S)

    assert made.views()[0].busy == 0


def test_over_the_whole_run_a_stage_is_busy_for_its_share_of_the_training_time() -> None:
    made = metrics()
    made.report(Counters(0), spans((0, S)), 4 * S)
    made.report(Counters(1), spans((S, 2 * S), (3 * S, 4 * S)), 4 * S)

    assert made.seconds == 4
    assert made.busy(0) == pytest.approx(0.25)
    assert made.busy(1) == pytest.approx(0.5)
    assert made.overlap == 0


def test_overlap_comes_from_all_workers() -> None:
    made = metrics()
    made.report(Counters(0), spans((0, 3 * S)), 4 * S)
    made.report(Counters(1), spans((S, 4 * S)), 4 * S)

    assert made.overlap == pytest.approx(0.5)


def test_progress_is_what_the_last_stage_has_trained_on() -> None:
    made = metrics()
    first, last = Counters(0, samples=90), Counters(1, samples=60)
    last.loss.add(0.5)
    last.accuracy.add(0.875)
    made.report(first, spans(), S)
    made.report(last, spans(), S)

    progress = made.progress(seconds=7.5, epoch=2)

    assert (progress.seconds, progress.epoch, progress.epochs) == (7.5, 2, 3)
    assert (progress.samples, progress.loss, progress.accuracy) == (60, 0.5, 0.875)
    assert [view.counters.samples for view in progress.workers] == [90, 60]


def test_a_report_replaces_the_one_before() -> None:
    """Totals are reported whole, so a lost report loses nothing and none is added twice."""
    made = metrics()
    made.report(Counters(0, updates=5), spans(), S)
    made.report(Counters(0, updates=8), spans(), 2 * S)

    assert made.counters[0].updates == 8


def test_evaluations_appear_in_the_progress() -> None:
    made = metrics()
    made.evaluations.add(Part(0.25, 9, 10), 10, epoch=1, seconds=2.0)

    (evaluation,) = made.progress(2.0, 1).evaluations

    assert (evaluation.epoch, evaluation.accuracy) == (1, 0.9)


def absences(made: RunMetrics, stage: int) -> list[tuple[int, int]]:
    """When the stage had no worker, in seconds."""
    rows = made.spans[stage]
    return [(start // S, end // S) for kind, _, start, end in rows.tolist() if KINDS[kind] == "absent"]


def test_the_time_without_a_worker_is_a_span_of_its_stage() -> None:
    made = metrics()
    made.report(Counters(1), spans((0, S)), S)

    made.lost(1, 2 * S)
    absent_s = made.rejoined(1, 5 * S)

    assert absent_s == 3
    assert (absences(made, 0), absences(made, 1)) == ([], [(2, 5)])
    assert len(made.spans[1]) == 2


def test_it_begins_with_the_loss_though_a_successor_may_be_lost_before_it_is_ready() -> None:
    made = metrics()
    for at in (2, 3, 4):
        made.lost(1, at * S)

    assert made.rejoined(1, 6 * S) == 4
    assert absences(made, 1) == [(2, 6)]


def test_a_worker_that_was_never_lost_does_not_rejoin() -> None:
    made = metrics()
    made.lost(0, S)
    made.rejoined(0, 2 * S)

    assert [made.rejoined(stage, 3 * S) for stage in (0, 1)] == [0, 0]
    assert absences(made, 0) == [(1, 2)]


def test_nobody_works_during_an_absence() -> None:
    made = metrics()
    made.report(Counters(1), spans((0, S)), S)
    made.lost(1, S)
    made.report(Counters(0), spans((0, 6 * S)), 6 * S)
    made.rejoined(1, 7 * S)
    made.report(Counters(0), spans((6 * S, 8 * S)), 8 * S)
    made.report(Counters(1), spans((7 * S, 8 * S)), 8 * S)
    made.finish()

    assert made.busy(1) == pytest.approx(0.25)
    assert made.overlap == pytest.approx(0.25)


def test_the_rate_of_a_successor_is_that_of_its_own_reports() -> None:
    """Its totals go on from a checkpoint, behind those of the worker that was lost."""
    made = metrics()
    made.report(Counters(1, samples=0), spans(), 0)
    made.report(Counters(1, samples=900), spans(), S)
    made.lost(1, 2 * S)
    made.generations[1] += 1
    made.rejoined(1, 3 * S)

    made.report(Counters(1, samples=500), spans((3 * S, 4 * S)), 4 * S)
    first = made.views()[1].samples_per_s
    made.report(Counters(1, samples=540), spans(), 5 * S)

    assert first == 0
    assert made.views()[1].samples_per_s == pytest.approx(40)


def test_restarts_are_counted_by_stage_and_nothing_else_counts() -> None:
    made = metrics()
    for what, stage in (("lost", 1), ("rejoined", 1), ("silent", 0), ("lost", 1), ("rolled back", None), ("lost", 0)):
        made.note(Incident(1.0, stage, what, ""))

    assert [made.restarts(stage) for stage in (0, 1)] == [1, 2]
    assert [incident.what for incident in made.progress(2.0, 1).incidents[:3]] == ["lost", "rejoined", "silent"]


def test_a_resumed_run_has_trained_for_what_it_had_before_as_well() -> None:
    made = metrics()
    made.seconds_before = 7.5
    made.report(Counters(0), spans((0, S)), S)
    made.report(Counters(1), spans((S, 2 * S)), 2 * S)

    assert made.seconds == 9.5
    assert made.busy(0) == pytest.approx(0.5), "of the time since"


@pytest.mark.parametrize(
    ("incident", "said"),
    [
        (Incident(1.0, 2, "lost", "its process 7 ended"), "stage 2 lost: its process 7 ended"),
        (Incident(1.0, 0, "silent", ""), "stage 0 silent"),
        (Incident(1.0, None, "rolled back", "to microbatch 5"), "rolled back: to microbatch 5"),
    ],
)
def test_an_incident_reads_as_a_line(incident: Incident, said: str) -> None:
    assert str(incident) == said
