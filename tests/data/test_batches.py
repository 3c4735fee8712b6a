"""Batches: every row once an epoch, in an order that only the seed and the epoch decide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.data.batches import count, in_order, shuffled

sizes = st.tuples(st.integers(1, 200), st.integers(1, 250))


def order(seed: int, epoch: int, batch: int = 10, samples: int = 100) -> list[int]:
    return [int(row) for rows in shuffled(samples, batch, seed, epoch) for row in rows]


@given(sizes, st.integers(0, 2**63), st.integers(0, 1000))
def test_every_row_comes_once_an_epoch(size: tuple[int, int], seed: int, epoch: int) -> None:
    rows = order(seed, epoch, batch=size[1], samples=size[0])

    assert sorted(rows) == list(range(size[0]))


@given(sizes)
def test_all_batches_are_full_but_the_last_which_is_never_one_alone(
    size: tuple[int, int],
) -> None:
    samples, batch = size

    for batches in (list(shuffled(samples, batch, 0, 0)), list(in_order(samples, batch))):
        lengths = [len(rows) for rows in batches]
        assert lengths[:-1] == [batch] * (len(lengths) - 1)
        assert 0 < lengths[-1] <= batch + (samples % batch == 1)
        assert lengths[-1] > 1 or samples == 1 or batch == 1
        assert sum(lengths) == samples
        assert len(lengths) == count(samples, batch)


def test_the_last_batch_is_smaller() -> None:
    assert [len(rows) for rows in shuffled(10, 4, 0, 0)] == [4, 4, 2]


def test_the_order_is_a_function_of_the_seed_and_the_epoch() -> None:
    assert order(seed=3, epoch=5) == order(seed=3, epoch=5)
    assert len({tuple(order(seed, epoch)) for seed in range(5) for epoch in range(5)}) == 25


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    assert order(0, 0, batch=7) == order(0, 0, batch=100)


def test_rows_are_shuffled() -> None:
    assert order(0, 0) != list(range(100))


@pytest.mark.parametrize(("samples", "batch"), [(7, 3), (6, 3), (2, 5)])
def test_evaluation_goes_from_the_first_row_to_the_last(samples: int, batch: int) -> None:
    assert np.concatenate(list(in_order(samples, batch))).tolist() == list(range(samples))
