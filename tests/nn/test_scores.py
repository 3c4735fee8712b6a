"""Scores of values: what scikit-learn says of the same answers."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from decoupled.nn.parameters import Array
from decoupled.nn.scores import Score, Tally, sums

rng = np.random.default_rng(0)
Y = rng.standard_normal((90, 3)) * [1, 10, 0.1] + [0, 5, -3]
ANSWERS = Y + rng.standard_normal((90, 3)) * [0.5, 1, 0.01]


def score(y: Array, answers: Array, unit: Array, cuts: tuple[int, ...] = ()) -> Score:
    """Of answers that come in parts."""
    tally = Tally(unit)
    for some_y, some_answers in zip(np.split(y, cuts), np.split(answers, cuts), strict=True):
        tally.add(len(some_y), 0.5, None, sums(some_answers, some_y))
    return tally.score


def test_parts_add_up_to_what_is_true_of_the_whole() -> None:
    found = score(Y, ANSWERS, np.array([2.0, 3.0, 4.0]), (64, 65))

    assert (found.loss, found.accuracy) == (0.5, None)
    assert found.r2 == pytest.approx(r2_score(Y, ANSWERS))
    assert found.mae == pytest.approx(mean_absolute_error(Y * [2, 3, 4], ANSWERS * [2, 3, 4]))


def test_an_output_whose_targets_are_all_the_same_has_no_r2() -> None:
    y = Y * [1, 0, 1] + [0, 0.1, 0]

    assert score(y, ANSWERS, np.ones(3)).r2 == pytest.approx(r2_score(y[:, [0, 2]], ANSWERS[:, [0, 2]]))
    assert score(y[:, 1:2], ANSWERS[:, 1:2], np.ones(1)).r2 is None


@pytest.mark.parametrize("errors", [None, np.zeros((4, 2)), np.zeros(4)])
def test_a_part_that_is_not_of_such_values_is_refused(errors: Array | None) -> None:
    with pytest.raises(ValueError, match="3 values"):
        Tally(np.ones(3)).add(9, 0.5, None, errors)
