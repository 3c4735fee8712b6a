"""The order of batches: a function of the seed and the epoch alone, so that every schedule sees the same."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from decoupled.data.dataset import Array


def count(samples: int, batch: int) -> int:
    """How many batches an epoch has."""
    return len(bounds(samples, batch))


def bounds(samples: int, batch: int) -> list[tuple[int, int]]:
    """Where each batch starts and stops. The last may be smaller.

    One sample alone goes with the batch before it, since batch norm can make nothing of it.
    """
    starts = list(range(0, samples, batch))
    if len(starts) > 1 and batch > 1 and samples - starts[-1] == 1:
        starts.pop()
    return list(pairwise((*starts, samples)))


def shuffled(samples: int, batch: int, seed: int, epoch: int) -> Iterator[Array]:
    """The rows of each batch of an epoch, every row once."""
    order = np.random.default_rng([seed, epoch, 0xDA7A]).permutation(samples)
    for start, stop in bounds(samples, batch):
        yield order[start:stop]


def in_order(samples: int, batch: int) -> Iterator[Array]:
    """The rows of each batch, from the first on: for evaluation."""
    for start, stop in bounds(samples, batch):
        yield np.arange(start, stop)
