"""The stream: every item under a number of its own, evaluations until they are back, and the same place again later."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from decoupled.runtime.data_stream import Cursor, DataStream
from decoupled.runtime.feed import Feed, Item
from decoupled.telemetry.ranges import Ranges
from tests.datasets import blobs

DATA = blobs(train=23, test=10)  # in fives: four batches, and one of three; then two of the test set
EPOCH, EPOCHS = 7, 3


def stream(fed: Cursor | None = None, microbatches: int = 1) -> DataStream:
    return DataStream(Feed(DATA, 5, EPOCHS, 0, 1, microbatches), fed)


def take(source: DataStream, count: int) -> list[Item]:
    """The next so many items, which must be there."""
    items = [source.take() for _ in range(count)]
    assert None not in items
    return [item for item in items if item is not None]


def the_same(one: list[Item], other: list[Item]) -> bool:
    """Whether both have the same items under the same numbers."""
    return len(one) == len(other) and all(
        (mine.microbatch, mine.training, mine.epoch, mine.ends_minibatch)
        == (theirs.microbatch, theirs.training, theirs.epoch, theirs.ends_minibatch)
        and np.array_equal(mine.x, theirs.x)
        and np.array_equal(mine.y, theirs.y)
        for mine, theirs in zip(one, other, strict=True)
    )


def test_it_gives_the_feed_in_order_and_then_nothing() -> None:
    source = stream()

    items = take(source, EPOCHS * EPOCH)

    assert the_same(items, list(Feed(DATA, 5, EPOCHS, 0, 1).items()))
    assert source.take() is None
    assert source.is_idle


def test_it_is_exhausted_when_every_evaluation_is_back() -> None:
    source = stream()
    evaluations = [item.microbatch for item in take(source, EPOCHS * EPOCH) if not item.training]

    exhausted = []
    for number in evaluations:
        exhausted.append(source.exhausted)
        source.evaluated(number)

    assert exhausted == [False] * 6
    assert source.exhausted


def epoch_of(source: DataStream, number: int) -> int | None:
    item = source.evaluated(number)
    return item.epoch if item is not None else None


def test_an_evaluation_that_is_back_tells_its_epoch_once() -> None:
    source = stream()
    take(source, 2 * EPOCH)

    assert [epoch_of(source, number) for number in (13, 5, 5, 0, 99)] == [2, 1, None, None, None]


def test_lost_evaluations_are_fed_again_under_new_numbers_before_anything_else() -> None:
    source = stream()
    first = take(source, EPOCH)
    source.evaluated(5)

    source.passed(6)
    again, after = take(source, 2)

    assert (again.microbatch, again.training, again.epoch) == (7, False, 1)
    np.testing.assert_array_equal(again.x, first[6].x)
    assert (after.microbatch, after.training, after.epoch) == (8, True, 2)
    assert [epoch_of(source, number) for number in (6, 7)] == [None, 1]


def test_an_evaluation_may_be_lost_again_and_again() -> None:
    source = stream()
    take(source, EPOCHS * EPOCH)
    for number in (5, 6, 12, 13, 19):
        source.evaluated(number)

    for number in (20, 21, 22):
        source.passed(number)
        assert not source.exhausted
        assert [item.microbatch for item in take(source, 1)] == [number + 1]
    source.evaluated(23)

    assert source.exhausted


def test_what_comes_after_the_marker_is_not_lost_yet() -> None:
    source = stream()
    take(source, 2 * EPOCH)

    source.passed(5)

    assert [item.microbatch for item in take(source, 1) if not item.training] == [14]
    assert [epoch_of(source, number) for number in (5, 6, 12, 13, 14)] == [None, 1, 2, 2, 1]


def test_what_was_fed_is_known_by_number_and_by_samples() -> None:
    source = stream()
    take(source, EPOCH)
    source.passed(6)
    take(source, 4)

    fed = source.fed

    assert (fed.position, fed.number, fed.updates) == (9, 11, 7)
    assert list(fed.trained) == [(0, 4), (9, 10)]
    assert fed.samples(fed.trained) == 23 + 2 * 5
    assert fed.samples(Ranges([(3, 4)])) == 8
    assert fed.samples(Ranges()) == 0


def test_a_minibatch_counts_as_one_update_however_it_is_cut() -> None:
    source = stream(microbatches=2)

    between = []
    for _ in range(9):
        take(source, 1)
        between.append(source.is_between_minibatches)

    assert source.fed.updates == 5
    assert between == [False, True] * 4 + [True]
    assert source.fed.samples(source.fed.trained) == 23


def test_it_is_between_minibatches_after_one_and_not_after_an_evaluation() -> None:
    source = stream()

    at_first = source.is_between_minibatches
    after = []
    for _ in range(EPOCH):
        take(source, 1)
        after.append(source.is_between_minibatches)

    assert not at_first
    assert after == [True] * 5 + [False] * 2


@pytest.mark.parametrize("taken", [0, 1, 4, 5, 6, 7, 12, 20, 21])
def test_it_goes_on_where_it_was(taken: int) -> None:
    whole, first = take(stream(), EPOCHS * EPOCH), stream()
    take(first, taken)
    kept = Cursor.from_json(json.loads(json.dumps(first.fed.to_json())))

    second = stream(kept)
    rest = take(second, EPOCHS * EPOCH - taken)

    assert the_same(rest, whole[taken:])
    assert second.take() is None
    assert second.fed.samples(second.fed.trained) == EPOCHS * 23
    assert second.fed.updates == EPOCHS * 5


def test_numbers_go_on_behind_those_of_evaluations_that_were_fed_again() -> None:
    first = stream()
    take(first, EPOCH)
    first.passed(6)
    take(first, 3)
    assert (first.fed.position, first.fed.number) == (8, 10)

    (item,) = take(stream(first.fed), 1)

    assert (item.microbatch, item.epoch) == (10, 2)


def test_what_was_kept_does_not_follow_the_feed() -> None:
    source = stream()
    take(source, 5)
    kept = source.fed.copy()

    take(stream(kept), 9)
    take(source, 9)

    assert (kept.position, kept.number, kept.updates) == (5, 5, 5)
    assert list(kept.trained) == [(0, 4)]
    assert kept.samples(Ranges([(0, 30)])) == 31 * 5 - 2


@pytest.mark.parametrize(
    "change",
    [
        lambda values: {},
        lambda values: values | {"trained": 3},
        lambda values: values | {"trained": [[1]]},
        lambda values: values | {"odd": [1, 2]},
        lambda values: values | {"more": 1},
    ],
)
def test_what_is_not_its_json_is_told_apart(change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Cursor.from_json(change(Cursor().to_json()))
