"""The board: what the workers' reports say together."""

import pytest

from decoupled.telemetry.board import Board
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.evaluations import Part
from tests.telemetry.spans import spans

S = 1_000_000_000  # ns


def board() -> Board:
    return Board(((0, 1), (2,)), epochs=3, train_samples=100, test_samples=10)


def test_a_new_board_shows_zeros() -> None:
    progress = board().progress(seconds=0.0, epoch=1)

    assert (progress.samples, progress.samples_total, progress.samples_per_s, progress.overlap) == (0, 300, 0, 0)
    assert (progress.loss, progress.accuracy, progress.evaluations) == (None, None, ())
    assert [view.layers for view in progress.workers] == [(0, 1), (2,)]
    assert [view.busy for view in progress.workers] == [0, 0]
    assert board().seconds == 0
    assert board().busy(0) == 0


def test_rates_are_of_the_last_second_or_so() -> None:
    """Ten samples a second at first, a hundred lately: the first seconds are forgotten."""
    made, samples = board(), 0
    for half_second in range(20):
        samples += 5 if half_second < 10 else 50
        made.report(Counters(1, samples=samples), spans(), half_second * S // 2)

    assert made.views()[1].samples_per_s == pytest.approx(100)


def test_busy_is_the_share_of_time_in_training_spans() -> None:
    made = board()
    made.report(Counters(0), spans(), 0)
    made.report(Counters(0), spans((0, S // 4)), S // 2)
    made.report(Counters(0), spans((S // 2, 3 * S // 4), (3 * S // 4, S)), S)
    view = made.views()[0]

    assert view.busy == pytest.approx(0.75)
    assert view.wait == pytest.approx(0.25)
    assert made.views()[1].busy == 0


def test_evaluation_does_not_count_as_busy() -> None:
    made = board()
    made.report(Counters(0), spans(), 0)
    made.report(Counters(0), spans((0, S), kind="evaluate"), S)

    assert made.views()[0].busy == 0


def test_over_the_whole_run_a_stage_is_busy_for_its_share_of_the_training_time() -> None:
    made = board()
    made.report(Counters(0), spans((0, S)), 4 * S)
    made.report(Counters(1), spans((S, 2 * S), (3 * S, 4 * S)), 4 * S)

    assert made.seconds == 4
    assert made.busy(0) == pytest.approx(0.25)
    assert made.busy(1) == pytest.approx(0.5)
    assert made.overlap == 0


def test_overlap_comes_from_all_workers() -> None:
    made = board()
    made.report(Counters(0), spans((0, 3 * S)), 4 * S)
    made.report(Counters(1), spans((S, 4 * S)), 4 * S)

    assert made.overlap == pytest.approx(0.5)


def test_progress_is_what_the_last_stage_has_trained_on() -> None:
    made = board()
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
    made = board()
    made.report(Counters(0, updates=5), spans(), S)
    made.report(Counters(0, updates=8), spans(), 2 * S)

    assert made.counters[0].updates == 8


def test_evaluations_appear_in_the_progress() -> None:
    made = board()
    made.evaluations.add(Part(0.25, 9), 10, epoch=1, seconds=2.0)

    (evaluation,) = made.progress(2.0, 1).evaluations

    assert (evaluation.epoch, evaluation.accuracy) == (1, 0.9)
