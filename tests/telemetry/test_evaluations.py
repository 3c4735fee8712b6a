"""Evaluations: the whole test set, once, from one part for each microbatch."""

import numpy as np
import pytest

from decoupled.nn.scores import Tally, sums
from decoupled.telemetry.evaluations import Evaluation, Evaluations, Part


def test_parts_weigh_as_many_samples_as_they_hold() -> None:
    evaluations = Evaluations(samples=10)
    evaluations.add(Part(1.0, 6, 8), 8, epoch=4, seconds=1.0)
    evaluations.add(Part(3.0, 1, 2), 2, epoch=4, seconds=1.5)

    (done,) = evaluations.done
    assert (done.epoch, done.seconds) == (4, 1.5)
    assert [done.loss, done.accuracy] == pytest.approx([1.4, 0.7])


def test_nothing_is_said_before_the_whole_test_set_was_seen() -> None:
    evaluations = Evaluations(samples=10)
    evaluations.add(Part(1.0, 9, 9), 9, epoch=1, seconds=1.0)

    assert evaluations.done == ()


def test_the_next_evaluation_starts_anew_and_the_last_ones_stay() -> None:
    evaluations = Evaluations(samples=4)
    for epoch, correct in ((1, 1), (2, 3)):
        evaluations.add(Part(float(epoch), correct, 3), 3, epoch, seconds=epoch)
        evaluations.add(Part(float(epoch), 0, 1), 1, epoch, seconds=epoch)

    assert [(done.epoch, done.loss, done.accuracy) for done in evaluations.done] == [(1, 1.0, 0.25), (2, 2.0, 0.75)]


def test_where_right_and_wrong_mean_nothing_there_is_no_accuracy() -> None:
    evaluations = Evaluations(samples=3)
    evaluations.add(Part(0.5, None, 3), 3, epoch=1, seconds=1.0)

    assert evaluations.done == (Evaluation(1, 0.5, None, 1.0),)


def test_none_right_is_an_accuracy_of_zero() -> None:
    evaluations = Evaluations(samples=3)
    evaluations.add(Part(0.5, 0, 3), 3, epoch=1, seconds=1.0)

    assert evaluations.done[0].accuracy == 0.0


def test_parts_of_two_epochs_may_come_in_turn() -> None:
    """A lost part of the first is made again when the second is already under way; the last is still that of the last epoch."""
    evaluations = Evaluations(samples=4)
    for epoch, correct, seconds in ((1, 2, 1.0), (2, 1, 2.0), (2, 2, 3.0), (1, 0, 4.0)):
        evaluations.add(Part(float(epoch), correct, 2), 2, epoch, seconds)

    assert evaluations.done == (Evaluation(1, 1.0, 0.5, 4.0), Evaluation(2, 2.0, 0.75, 3.0))


def test_a_run_that_goes_on_keeps_the_evaluations_it_had() -> None:
    before = (Evaluation(1, 0.5, 0.5, 1.0), Evaluation(2, 0.25, 0.75, 2.0))
    evaluations = Evaluations(samples=4, done=before)

    evaluations.add(Part(0.125, 4, 4), 4, epoch=3, seconds=3.0)

    assert evaluations.done == (*before, Evaluation(3, 0.125, 1.0, 3.0))


def test_values_are_scored_in_the_users_units() -> None:
    y, answers = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0.5], [1.0], [2.0], [2.5]])
    evaluations = Evaluations(samples=4, tally=lambda: Tally(np.array([100.0])))
    for rows in (slice(0, 3), slice(3, 4)):
        evaluations.add(Part(0.1, None, len(y[rows]), sums(answers[rows], y[rows])), len(y[rows]), epoch=1, seconds=1.0)

    (done,) = evaluations.done
    assert [done.r2, done.mae] == pytest.approx([1 - 0.5 / 5, 25.0])
