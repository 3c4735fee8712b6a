"""The order of batches: a function of the seed and the epoch alone, so that every schedule sees the same."""

from collections.abc import Iterator

import numpy as np

from decoupled.data.dataset import Array


def count(samples: int, batch: int) -> int:
    """How many batches an epoch has; the last may be smaller."""
    return -(-samples // batch)


def shuffled(samples: int, batch: int, seed: int, epoch: int) -> Iterator[Array]:
    """The rows of each batch of an epoch, every row once."""
    order = np.random.default_rng([seed, epoch, 0xDA7A]).permutation(samples)
    for start in range(0, samples, batch):
        yield order[start : start + batch]


def in_order(samples: int, batch: int) -> Iterator[Array]:
    """The rows of each batch, from the first on: for evaluation."""
    for start in range(0, samples, batch):
        yield np.arange(start, min(start + batch, samples))
