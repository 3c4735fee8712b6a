"""The order of batches: a function of the seed and the epoch alone, so that every schedule sees the same."""

from collections.abc import Iterator

import numpy as np

from decoupled.tensors import Array


def count(samples: int, batch: int) -> int:
    """How many batches an epoch has."""
    whole, rest = divmod(samples, batch)
    return whole + (rest > 0 and not _is_alone(whole, batch, rest))


def _is_alone(whole: int, batch: int, rest: int) -> bool:
    """One sample alone goes with the batch before it, since batch norm can make nothing of it."""
    return rest == 1 and whole > 0 and batch > 1


def bounds(samples: int, batch: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Where each batch begins and ends, from batch `start` on. The last may have one sample more, or fewer."""
    last = count(samples, batch) - 1
    for index in range(start, last + 1):
        yield index * batch, samples if index == last else (index + 1) * batch


def shuffled(samples: int, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Array]:
    """The rows of each batch of an epoch, from batch `start` on; in a whole epoch every row comes once."""
    order = np.random.default_rng([seed, epoch, 0xDA7A]).permutation(samples)
    for first, stop in bounds(samples, batch, start):
        yield order[first:stop]


def in_order(samples: int, batch: int, start: int = 0) -> Iterator[Array]:
    """The rows of each batch, from batch `start` on, in their own order: for evaluation."""
    for first, stop in bounds(samples, batch, start):
        yield np.arange(first, stop)
