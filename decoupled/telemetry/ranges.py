"""Ranges: a set of whole numbers that mostly follow one another, kept as the ranges they make."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


class Ranges:
    """Numbers, added in nearly rising order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """`ranges` are first and last numbers, apart from one another and in order."""
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self._firsts.append(first)
            self._lasts.append(last)

    def add(self, number: int) -> None:
        """Puts a number in, if it is not there."""
        at = bisect_left(self._lasts, number)  # the first range that does not end before it
        if at < len(self._lasts) and self._firsts[at] <= number:
            return
        follows = at > 0 and self._lasts[at - 1] == number - 1
        precedes = at < len(self._firsts) and self._firsts[at] == number + 1
        if follows and precedes:
            self._lasts.pop(at - 1)
            self._firsts.pop(at)
        elif follows:
            self._lasts[at - 1] = number
        elif precedes:
            self._firsts[at] = number
        else:
            self._firsts.insert(at, number)
            self._lasts.insert(at, number)

    def without(self, other: "Ranges") -> "Ranges":
        """Those of the numbers that are not in the other."""
        left: list[tuple[int, int]] = []
        for first, last in self:
            for start, stop in other.between(first, last):
                if start > first:
                    left.append((first, start - 1))
                first = stop + 1
            if first <= last:
                left.append((first, last))
        return Ranges(left)

    def between(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The ranges that meet [first, last]."""
        for at in range(bisect_left(self._lasts, first), len(self._firsts)):
            if self._firsts[at] > last:
                return
            yield self._firsts[at], self._lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        return any(True for _ in self.between(number, number))

    def __len__(self) -> int:
        """How many numbers there are."""
        return sum(last - first + 1 for first, last in self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    def to_array(self) -> NDArray[np.int64]:
        """First and last number of each range, n x 2."""
        return np.array(list(self), np.int64).reshape(-1, 2)

    @classmethod
    def from_array(cls, array: NDArray[np.int64]) -> "Ranges":
        return cls((int(first), int(last)) for first, last in array)
