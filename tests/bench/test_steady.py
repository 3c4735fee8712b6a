"""The steady rate, from spans of a few nanoseconds."""

import numpy as np
import pytest

from decoupled.bench.steady import own_rate, samples_per_s
from decoupled.telemetry.spans import Rows
from tests.telemetry.spans import spans

S = 1e9  # nanoseconds


def updates(*ends: int) -> Rows:
    """Updates of 2 ns each that end then."""
    return spans(*((end - 2, end) for end in ends), kind="update")


def test_the_warm_up_is_left_out() -> None:
    stage = updates(1000, 1010, 1020, 1030)

    assert samples_per_s([stage], [8, 8, 8, 8], windows=1, warm_up=1) == pytest.approx(3 * 8 / 30 * S)
    assert samples_per_s([stage], [8, 8, 8, 8], windows=1, warm_up=2) == pytest.approx(2 * 8 / 20 * S)


def test_time_begins_when_the_slowest_stage_is_warm_and_ends_with_the_last_stage_to_finish() -> None:
    slow_to_warm_up, slow_to_finish = updates(10, 30, 35, 40), updates(15, 27, 33, 50)

    rate = samples_per_s([slow_to_warm_up, slow_to_finish], [8, 8, 8, 8], windows=1, warm_up=2)

    assert rate == pytest.approx(2 * 8 / (50 - 30) * S)


def test_each_update_counts_with_its_own_samples() -> None:
    assert samples_per_s([updates(10, 20, 30, 40)], [8, 8, 8, 3], windows=1, warm_up=2) == pytest.approx(11 / 20 * S)


def test_what_lies_between_two_stretches_is_left_out() -> None:
    stage = updates(10, 20, 30, 40, 1010, 1020, 1030, 1040)

    assert samples_per_s([stage], [8] * 8, windows=2, warm_up=1) == pytest.approx(6 * 8 / 60 * S)


def test_every_stretch_has_its_own_warm_up() -> None:
    """The first update after an evaluation waits for the pipeline to fill again."""
    stage = updates(100, 110, 120, 130, 1100, 1110, 1120, 1130)

    assert samples_per_s([stage], [8] * 8, windows=2, warm_up=2) == pytest.approx(4 * 8 / 40 * S)


def test_of_a_short_stretch_no_more_than_half_is_warm_up() -> None:
    assert samples_per_s([updates(10, 20, 40, 50)], [8] * 4, windows=1, warm_up=20) == pytest.approx(2 * 8 / 30 * S)


def test_only_updates_count_and_in_the_order_of_time() -> None:
    other = spans((0, 900), (900, 2000))
    rows = np.concatenate([updates(40, 30), other, updates(20, 10)])

    assert samples_per_s([rows], [8] * 4, windows=1, warm_up=1) == pytest.approx(3 * 8 / 30 * S)


@pytest.mark.parametrize(
    ("stages", "sizes"),
    [
        ([updates(10, 20, 30, 40), updates(10, 20, 30)], [8] * 4),
        ([updates(10, 20, 30)], [8] * 4),
        ([updates(10, 20, 30, 40, 50)], [8] * 4),
        ([updates()], [8] * 4),
        ([updates()], []),
        ([updates(10)], [8]),
    ],
    ids=["different numbers", "too few", "too many", "none", "none wanted", "a single one"],
)
def test_there_is_no_rate_where_updates_are_missing(stages: list[Rows], sizes: list[int]) -> None:
    assert samples_per_s(stages, sizes, windows=1, warm_up=1) is None


def test_a_stages_own_rate_is_that_of_its_own_updates_after_the_warm_up() -> None:
    """Four updates with 40 samples together: 10 each, and the last two of them in 20 ns."""
    assert own_rate(updates(100, 110, 120, 130), samples=40, warm_up=2) == pytest.approx(2 * 10 / 20 * S)


def test_a_stage_that_is_never_warm_has_no_rate_of_its_own() -> None:
    assert own_rate(updates(10, 20), samples=40, warm_up=2) is None
