"""The feed: every sample once per epoch, evaluation at its place, the same stream for the same seed."""

import numpy as np
import pytest

from decoupled.runtime.feed import length, stream
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
