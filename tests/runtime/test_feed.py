"""The feed: every sample once per epoch, evaluation at its place, the same stream for the same seed, from anywhere on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.data.dataset import Dataset
from decoupled.data.source import Batch
from decoupled.errors import RunFailed
from decoupled.runtime.feed import Feed, Item
from tests.datasets import blobs

DATA = blobs(train=50, test=20)


def test_every_epoch_trains_on_every_sample_once() -> None:
    items = [item for item in Feed(DATA, batch=8, epochs=2, seed=0).items() if item.training]

    for epoch in (1, 2):
        rows = np.concatenate([item.x for item in items if item.epoch == epoch])
        assert sorted(map(tuple, rows)) == sorted(map(tuple, DATA.x_train))


@pytest.mark.parametrize(("evaluate_every", "evaluated"), [(0, [5]), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])])
def test_the_whole_test_set_is_evaluated_after_the_epochs_asked_for_and_at_the_end(
    evaluate_every: int, evaluated: list[int]
) -> None:
    items = list(Feed(DATA, 8, 5, 0, evaluate_every).items())

    for epoch in evaluated:
        rows = np.concatenate([item.x for item in items if not item.training and item.epoch == epoch])
        assert (rows == DATA.x_test).all()
    assert sorted({item.epoch for item in items if not item.training}) == evaluated
    assert [item.microbatch for item in items] == list(range(len(Feed(DATA, 8, 5, 0, evaluate_every))))


def test_inputs_keep_their_own_targets() -> None:
    target = {tuple(x): y for x, y in zip(DATA.x_train, DATA.y_train, strict=True)}

    for item in Feed(DATA, 8, 1, 3, 0).items():
        if item.training:
            assert [target[tuple(x)] for x in item.x] == item.y.tolist()


def test_the_stream_is_a_function_of_the_seed() -> None:
    first, again, other = (next(Feed(DATA, 8, 1, seed, 0).items()).x for seed in (4, 4, 5))

    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.parametrize("microbatches", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("batch", [8, 9, 16])
def test_a_batch_is_cut_into_parts_that_together_are_the_batch(batch: int, microbatches: int) -> None:
    whole = [item for item in Feed(DATA, batch, 2, 0, 0).items() if item.training]
    parts = [item for item in Feed(DATA, batch, 2, 0, 0, microbatches).items() if item.training]

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
    items = [item for item in Feed(blobs(train=32, test=4), 16, 1, 0, 0, 4).items() if item.training]

    assert [len(item.x) for item in items] == [4] * 8
    assert [item.ends_minibatch for item in items] == [False, False, False, True] * 2


@pytest.mark.parametrize(("batch", "microbatches"), [(9, 4), (8, 4), (10, 3), (50, 7), (49, 6)])
def test_no_part_is_one_sample_alone(batch: int, microbatches: int) -> None:
    """Batch norm can make nothing of it."""
    items = [item for item in Feed(DATA, batch, 1, 0, 0, microbatches).items() if item.training]

    assert min(len(item.x) for item in items) >= 2


def test_a_batch_of_one_stays_one() -> None:
    items = [item for item in Feed(DATA, 1, 1, 0, 0, 1).items() if item.training]

    assert [len(item.x) for item in items] == [1] * 50


@pytest.mark.parametrize("microbatches", [1, 3, 4])
@pytest.mark.parametrize("batch", [8, 9, 64])
@pytest.mark.parametrize("evaluate_every", [0, 2])
def test_the_length_is_that_of_the_stream_and_numbers_have_no_gaps(batch: int, microbatches: int, evaluate_every: int) -> None:
    items = list(Feed(DATA, batch, 3, 0, evaluate_every, microbatches).items())

    assert [item.microbatch for item in items] == list(range(len(Feed(DATA, batch, 3, 0, evaluate_every, microbatches))))


def test_evaluation_is_not_cut_and_comes_after_the_end_of_a_batch() -> None:
    items = list(Feed(DATA, 8, 2, 0, 1, 4).items())

    assert [len(item.x) for item in items if not item.training] == [8, 8, 4] * 2
    before_evaluation = [before for before, item in pairwise(items) if before.training and not item.training]
    assert [item.ends_minibatch for item in before_evaluation] == [True, True]


SEEN = ("microbatch", "training", "epoch", "ends_minibatch")


@given(
    samples=st.tuples(st.integers(2, 60), st.integers(2, 30)),
    batch=st.integers(2, 20),
    epochs=st.integers(1, 5),
    evaluate_every=st.integers(0, 6),
    microbatches=st.integers(1, 5),
    share=st.floats(0, 1),
)
def test_reading_from_a_position_is_reading_to_it_and_on(
    samples: tuple[int, int], batch: int, epochs: int, evaluate_every: int, microbatches: int, share: float
) -> None:
    feed = Feed(blobs(*samples), batch, epochs, 3, evaluate_every, microbatches)
    position = round(share * len(feed))

    sought, read = list(feed.items(position)), list(islice(feed.items(), position, None))

    assert len(sought) == len(feed) - position
    for one, other in zip(sought, read, strict=True):
        assert [getattr(one, name) for name in SEEN] == [getattr(other, name) for name in SEEN]
        assert np.array_equal(one.x, other.x)
        assert np.array_equal(one.y, other.y)


@dataclass(frozen=True, eq=False)
class Counted(Dataset):
    """Writes down which batches are read: epoch (0: of the test set) and number."""

    read: list[tuple[int, int]] = field(default_factory=list)

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        for number, pair in enumerate(super().batches(batch, epoch, start, seed), start):
            self.read.append((epoch, number))
            yield pair

    def test_batches(self, batch: int, start: int) -> Iterator[Batch]:
        for number, pair in enumerate(super().test_batches(batch, start), start):
            self.read.append((0, number))
            yield pair


def counted() -> Counted:
    return Counted(**{one.name: getattr(DATA, one.name) for one in fields(DATA)})


@pytest.mark.parametrize(
    ("position", "first"),
    [(999 * 10, (1000, 0)), (999 * 10 + 3, (1000, 1)), (1000 * 10 + 1, (0, 1)), (1000 * 10, (0, 0))],
    ids=["epoch", "part of a batch", "part of an evaluation", "evaluation"],
)
def test_no_batch_before_the_position_is_read(position: int, first: tuple[int, int]) -> None:
    """50 samples in tens, cut in two, are ten microbatches an epoch."""
    source = counted()

    next(Feed(source, 10, 1000, 0, microbatches=2).items(position))

    assert source.read == [first]


class Wrong(Counted):
    """Gives something else than it says."""

    change: Callable[[Iterator[Batch]], Iterator[Batch]]

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        return type(self).change(super().batches(batch, epoch, start, seed))


def fails(given: Iterator[Batch]) -> Iterator[Batch]:
    yield next(given)
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda given: islice(given, 2), "ended"),
        (lambda given: ((x[1:], y[1:]) for x, y in given), "7 samples|(7, 6)"),
        (lambda given: ((x.astype("float32"), y) for x, y in given), "float32"),
        (lambda given: ((x, y[:, None]) for x, y in given), "(8, 1)"),
        (fails, "the disk is gone"),
    ],
    ids=["ends early", "too few", "another dtype", "another shape", "raises"],
)
def test_a_source_that_does_not_give_what_it_said_ends_the_run(change: Any, said: str) -> None:
    class Source(Wrong):
        pass

    Source.change = staticmethod(change)
    source = Source(**{one.name: getattr(DATA, one.name) for one in fields(DATA)})

    with pytest.raises(RunFailed) as failed:
        list(Feed(source, 8, 1, 0).items())

    assert source.name in str(failed.value)
    assert any(part in str(failed.value) for part in said.split("|"))
