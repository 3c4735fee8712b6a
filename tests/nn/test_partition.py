"""Partition: which layers a stage gets, by their counted or measured work."""

import pytest

from decoupled.nn.partition import Work, partition


def counted(*products: float) -> Work:
    return Work("multiplications", products, tuple(2 * product for product in products))


def measured(*ms: float) -> Work:
    return Work("ms", ms, ms)


@pytest.mark.parametrize(
    ("work", "workers", "stages"),
    [
        ((64, 64, 64, 64), 4, ((0,), (1,), (2,), (3,))),
        ((64, 64, 64, 64), 2, ((0, 1), (2, 3))),
        ((64, 64, 64, 64), 1, ((0, 1, 2, 3),)),
        ((200_704, 65_536, 65_536, 2_560), 2, ((0,), (1, 2, 3))),
        ((64, 64, 800, 800), 3, ((0, 1), (2,), (3,))),
        ((100, 1, 1, 1, 1), 3, ((0,), (1, 2), (3, 4))),
    ],
)
def test_the_heaviest_stage_is_as_light_as_can_be(
    work: tuple[int, ...], workers: int, stages: tuple[tuple[int, ...], ...]
) -> None:
    assert partition(counted(*work), workers) == stages


@pytest.mark.parametrize(
    ("ms", "workers", "stages"),
    [
        ((5.1, 5.0, 4.9, 5.2), 2, ((0, 1), (2, 3))),
        ((0.1, 5.0, 5.2, 4.9, 5.1, 0.9), 2, ((0, 1, 2), (3, 4, 5))),
        ((100, 1, 1, 1, 1), 3, ((0,), (1, 2), (3, 4))),
        ((1, 1, 1, 9), 2, ((0, 1, 2), (3,))),
        ((20, 9, 9, 9, 9), 2, ((0, 1), (2, 3, 4))),
    ],
)
def test_of_measured_cuts_that_are_as_good_the_evenest_is_chosen(
    ms: tuple[float, ...], workers: int, stages: tuple[tuple[int, ...], ...]
) -> None:
    assert partition(measured(*ms), workers) == stages


def test_noise_does_not_move_a_cut() -> None:
    steady = partition(measured(*[5.0] * 8), 4)

    assert partition(measured(5.2, 4.9, 5.1, 5.0, 4.8, 5.1, 5.2, 4.9), 4) == steady == ((0, 1), (2, 3), (4, 5), (6, 7))


def test_many_layers_are_cut_in_no_time() -> None:
    assert [len(stage) for stage in partition(measured(*[1.0] * 200), 8)] == [25] * 8


def test_more_workers_than_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="4 workers cannot share 3 layers"):
        partition(counted(1, 1, 1), 4)
