"""The feed: every sample once per epoch, evaluation at its place, the same stream for the same seed."""

from itertools import pairwise

import numpy as np
import pytest

from decoupled.runtime.feed import Item, length, stream
from tests.datasets import blobs

DATA = blobs(train=50, test=20)


def test_every_epoch_trains_on_every_sample_once() -> None:
    items = [item for item in stream(DATA, batch=8, epochs=2, seed=0, evaluate_every=0) if item.training]

    for epoch in (1, 2):
        rows = np.concatenate([item.x for item in items if item.epoch == epoch])
        assert sorted(map(tuple, rows)) == sorted(map(tuple, DATA.x_train))


@pytest.mark.parametrize(("evaluate_every", "evaluated"), [(0, [5]), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])])
def test_the_whole_test_set_is_evaluated_after_the_epochs_asked_for_and_at_the_end(
    evaluate_every: int, evaluated: list[int]
) -> None:
    items = list(stream(DATA, 8, 5, 0, evaluate_every))

    for epoch in evaluated:
        rows = np.concatenate([item.x for item in items if not item.training and item.epoch == epoch])
        assert (rows == DATA.x_test).all()
    assert sorted({item.epoch for item in items if not item.training}) == evaluated
    assert [item.microbatch for item in items] == list(range(length(DATA, 8, 5, evaluate_every)))


def test_inputs_keep_their_own_targets() -> None:
    target = {tuple(x): y for x, y in zip(DATA.x_train, DATA.y_train, strict=True)}

    for item in stream(DATA, 8, 1, 3, 0):
        if item.training:
            assert [target[tuple(x)] for x in item.x] == item.y.tolist()


def test_the_stream_is_a_function_of_the_seed() -> None:
    first, again, other = (next(stream(DATA, 8, 1, seed, 0)).x for seed in (4, 4, 5))

    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.parametrize("microbatches", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("batch", [8, 9, 16])
def test_a_batch_is_cut_into_parts_that_together_are_the_batch(batch: int, microbatches: int) -> None:
    whole = [item for item in stream(DATA, batch, 2, 0, 0) if item.training]
    parts = [item for item in stream(DATA, batch, 2, 0, 0, microbatches) if item.training]

    again: list[list[Item]] = [[]]
    for item in parts:
        again[-1].append(item)
        if item.ends_minibatch:
            again.append([])
    assert again.pop() == []  # the last part ends the last batch
    assert len(again) == len(whole)
    for pieces, item in zip(again, whole, strict=True):
        assert (np.concatenate([piece.x for piece in pieces]) == item.x).all()
        assert (np.concatenate([piece.y for piece in pieces]) == item.y).all()
        assert {piece.epoch for piece in pieces} == {item.epoch}
    assert max(len(pieces) for pieces in again) <= microbatches


def test_a_batch_is_cut_into_as_many_equal_parts_as_asked_for() -> None:
    items = [item for item in stream(blobs(train=32, test=4), 16, 1, 0, 0, 4) if item.training]

    assert [len(item.x) for item in items] == [4] * 8
    assert [item.ends_minibatch for item in items] == [False, False, False, True] * 2


@pytest.mark.parametrize(("batch", "microbatches"), [(9, 4), (8, 4), (10, 3), (50, 7), (49, 6)])
def test_no_part_is_one_sample_alone(batch: int, microbatches: int) -> None:
    """Batch norm can make nothing of it."""
    items = [item for item in stream(DATA, batch, 1, 0, 0, microbatches) if item.training]

    assert min(len(item.x) for item in items) >= 2


def test_a_batch_of_one_stays_one() -> None:
    items = [item for item in stream(DATA, 1, 1, 0, 0, 1) if item.training]

    assert [len(item.x) for item in items] == [1] * 50


@pytest.mark.parametrize("microbatches", [1, 3, 4])
@pytest.mark.parametrize("batch", [8, 9, 64])
@pytest.mark.parametrize("evaluate_every", [0, 2])
def test_the_length_is_that_of_the_stream_and_numbers_have_no_gaps(batch: int, microbatches: int, evaluate_every: int) -> None:
    items = list(stream(DATA, batch, 3, 0, evaluate_every, microbatches))

    assert [item.microbatch for item in items] == list(range(length(DATA, batch, 3, evaluate_every, microbatches)))


def test_evaluation_is_not_cut_and_comes_after_the_end_of_a_batch() -> None:
    items = list(stream(DATA, 8, 2, 0, 1, 4))

    assert [len(item.x) for item in items if not item.training] == [8, 8, 4] * 2
    before_evaluation = [before for before, item in pairwise(items) if before.training and not item.training]
    assert [item.ends_minibatch for item in before_evaluation] == [True, True]
