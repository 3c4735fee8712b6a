"""Ranges: the same as a set of numbers, in as few ranges as can be."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decoupled.telemetry.ranges import Ranges

NUMBERS = st.lists(st.integers(0, 30), max_size=40)
NUMBER = st.integers(-2, 33)


def ranges_of(numbers: list[int]) -> Ranges:
    made = Ranges()
    for number in numbers:
        made.add(number)
    return made


def numbers_in(ranges: Ranges) -> set[int]:
    """All of them, after a check that they lie in order and that no two ranges touch."""
    pairs = list(ranges)
    assert all(first <= last for first, last in pairs)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(pairs))
    return {number for first, last in pairs for number in range(first, last + 1)}


@given(NUMBERS)
def test_they_hold_what_was_added_in_any_order_and_however_often(numbers: list[int]) -> None:
    ranges = ranges_of(numbers)

    assert numbers_in(ranges) == set(numbers)
    assert len(ranges) == len(set(numbers))
    assert [number in ranges for number in range(-2, 33)] == [number in numbers for number in range(-2, 33)]


@given(NUMBERS, NUMBERS)
def test_without_is_the_difference_of_sets(mine: list[int], others: list[int]) -> None:
    one, other = ranges_of(mine), ranges_of(others)

    assert numbers_in(one.without(other)) == set(mine) - set(others)
    assert (numbers_in(one), numbers_in(other)) == (set(mine), set(others)), "neither has changed"


@given(NUMBERS, NUMBER, st.integers(0, 10))
def test_between_are_the_ranges_that_meet_the_stretch(numbers: list[int], first: int, more: int) -> None:
    ranges, stretch = ranges_of(numbers), set(range(first, first + more + 1))

    met = list(ranges.between(first, first + more))

    assert met == [pair for pair in ranges if stretch & set(range(pair[0], pair[1] + 1))]


@given(NUMBERS)
def test_they_come_back_from_an_array_and_from_their_pairs(numbers: list[int]) -> None:
    ranges = ranges_of(numbers)
    array = ranges.to_array()

    assert array.dtype == np.int64
    assert array.shape == (len(list(ranges)), 2)
    assert Ranges.from_array(array) == ranges == Ranges(list(ranges))


@given(NUMBERS, NUMBERS)
def test_they_are_equal_when_they_hold_the_same(one: list[int], other: list[int]) -> None:
    assert (ranges_of(one) == ranges_of(other)) == (set(one) == set(other))


@given(NUMBERS, NUMBER)
def test_a_copy_does_not_follow_what_it_was_made_from(numbers: list[int], number: int) -> None:
    ranges = ranges_of(numbers)
    copy = Ranges(ranges)

    ranges.add(number)

    assert numbers_in(copy) == set(numbers)


def test_a_million_in_a_row_are_one_range() -> None:
    ranges = ranges_of(list(range(1_000_000)))

    assert list(ranges) == [(0, 999_999)]
    assert len(ranges) == 1_000_000
    assert 500_000 in ranges
    assert 1_000_000 not in ranges


def test_they_are_no_set_and_no_list() -> None:
    assert ranges_of([1, 2]) != {1, 2}
    assert ranges_of([1, 2]) != [(1, 2)]
