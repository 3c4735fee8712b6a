"""The steady rate, from spans of a few nanoseconds."""

import numpy as np
import pytest

from decoupled.bench.steady import own_rate, samples_per_s
from decoupled.telemetry.spans import Rows
from tests.bench.cases import updates
from tests.telemetry.spans import spans

S = 1e9  # nanoseconds


@pytest.mark.parametrize(("margin", "rate"), [(1, 5 * 8 / 540), (2, 3 * 8 / 30)])
def test_the_margin_is_left_out_at_both_ends(margin: int, rate: float) -> None:
    stage = updates(10, 510, 520, 530, 540, 550, 1000)

    assert samples_per_s([stage], [8] * 7, [7], margin) == pytest.approx(rate * S)


def test_time_begins_when_the_last_stage_has_made_the_margin_and_ends_in_the_same_way() -> None:
    slow_to_begin, slow_to_finish = updates(10, 30, 35, 40, 41, 42), updates(15, 27, 33, 50, 55, 90)

    rate = samples_per_s([slow_to_begin, slow_to_finish], [8] * 6, [6], margin=2)

    assert rate == pytest.approx(2 * 8 / (50 - 30) * S)


def test_each_update_counts_with_its_own_samples() -> None:
    assert samples_per_s([updates(10, 20, 30, 40)], [9, 8, 3, 7], [4], margin=1) == pytest.approx(11 / 20 * S)


def test_what_lies_between_two_stretches_is_left_out() -> None:
    stage = updates(10, 20, 30, 40, 1010, 1020, 1030, 1040)

    assert samples_per_s([stage], [8] * 8, [4, 4], margin=1) == pytest.approx(4 * 8 / 40 * S)


def test_every_stretch_has_margins_of_its_own_length() -> None:
    """Two of six at each end, but one of three."""
    stage = updates(100, 110, 120, 130, 150, 190, 1100, 1110, 1190)

    assert samples_per_s([stage], [8] * 9, [6, 3], margin=2) == pytest.approx((2 + 1) * 8 / (20 + 10) * S)


def test_of_a_short_stretch_no_more_than_a_third_is_margin() -> None:
    assert samples_per_s([updates(10, 20, 40, 50, 70, 100)], [8] * 6, [6], margin=20) == pytest.approx(2 * 8 / 30 * S)


def test_a_margin_of_nothing_is_one_update() -> None:
    """The time that the first update took is not known."""
    assert samples_per_s([updates(10, 20, 30, 80)], [8] * 4, [4], margin=0) == pytest.approx(2 * 8 / 20 * S)


def test_a_stretch_with_nothing_between_its_margins_does_not_count() -> None:
    assert samples_per_s([updates(10, 20, 110, 120, 130)], [8] * 5, [2, 3], margin=1) == pytest.approx(8 / 10 * S)


def test_only_updates_count_and_in_the_order_of_time() -> None:
    other = spans((0, 900), (900, 2000))
    rows = np.concatenate([updates(45, 30), other, updates(20, 10)])

    assert samples_per_s([rows], [8] * 4, [4], margin=1) == pytest.approx(2 * 8 / 20 * S)


@pytest.mark.parametrize(
    ("stages", "sizes", "stretches"),
    [
        ([updates(10, 20, 30, 40), updates(10, 20, 30)], [8] * 4, [4]),
        ([updates(10, 20, 30)], [8] * 4, [4]),
        ([updates(10, 20, 30, 40, 50)], [8] * 4, [4]),
        ([updates(10, 20, 30, 40)], [8] * 4, [3]),
        ([updates()], [8] * 4, [4]),
        ([updates()], [], []),
        ([updates(10)], [8], [1]),
        ([updates(10, 20, 110, 120)], [8] * 4, [2, 2]),
    ],
    ids=[
        "different numbers",
        "too few",
        "too many",
        "stretches of others",
        "none",
        "none wanted",
        "a single one",
        "no more than margins",
    ],
)
def test_there_is_no_rate_where_updates_are_missing(stages: list[Rows], sizes: list[int], stretches: list[int]) -> None:
    assert samples_per_s(stages, sizes, stretches, margin=1) is None


def test_a_stages_own_rate_is_that_of_its_own_updates_after_the_warm_up() -> None:
    """Four updates with 40 samples together: 10 each, and the last two of them in 20 ns."""
    assert own_rate(updates(100, 110, 120, 130), samples=40, warm_up=2) == pytest.approx(2 * 10 / 20 * S)


def test_a_stage_that_is_never_warm_has_no_rate_of_its_own() -> None:
    assert own_rate(updates(10, 20), samples=40, warm_up=2) is None
