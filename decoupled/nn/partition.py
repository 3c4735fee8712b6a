"""Partition: layers in a row, cut into stages by their work."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

NOISE = 0.1  # of measured times: cuts whose slowest stages differ by less are as good as each other


@dataclass(frozen=True, slots=True)
class Work:
    """What each layer computes for a microbatch, forward and backward: measured in ms, or counted."""

    unit: Literal["ms", "multiplications"]
    forward: tuple[float, ...]
    backward: tuple[float, ...]

    @property
    def layers(self) -> tuple[float, ...]:
        """Both ways together."""
        return tuple(there + back for there, back in zip(self.forward, self.backward, strict=True))


def partition(work: Work, workers: int) -> tuple[tuple[int, ...], ...]:
    """Cuts the layers into `workers` consecutive stages so that the heaviest one is as light as can be.

    Where the work was measured, the evenest in numbers of layers is chosen of all cuts that are as good but for noise.
    Raises ValueError when there are more workers than layers.
    """
    count = len(work.forward)
    if not 1 <= workers <= count:
        raise ValueError(f"{workers} workers cannot share {count} layers: give between 1 and {count} workers.")
    heaviest, _, starts = _lightest(work.layers, workers)
    if work.unit == "ms":
        _, _, starts = _lightest(work.layers, workers, heaviest * (1 + NOISE))
    return tuple(tuple(range(a, b)) for a, b in pairwise((*starts, count)))


def _lightest(work: Sequence[float], workers: int, bound: float = 0.0) -> tuple[float, int, tuple[int, ...]]:
    """The heaviest stage's work, how uneven the cut is, and where its stages start.

    All work up to the bound counts alike; where there is a bound, an even cut comes next.
    """
    count = len(work)

    @cache
    def best(start: int, stages: int) -> tuple[float, int, tuple[int, ...]]:
        """The same for the layers from `start` on."""
        last = [count] if stages == 1 else range(start + 1, count - stages + 2)
        options = []
        for stop in last:
            load, unevenness = max(sum(work[start:stop]), bound), (stop - start) ** 2 if bound else 0
            rest = best(stop, stages - 1) if stages > 1 else (bound, 0, ())
            options.append((max(load, rest[0]), unevenness + rest[1], (start, *rest[2])))
        return min(options)

    return best(0, workers)
