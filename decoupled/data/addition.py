"""addition: the synthetic-gradients tutorial's task. Two random integers, as bits, to the bits of their sum."""

import numpy as np

from decoupled.data.dataset import Array, Dataset, whole_scale
from decoupled.errors import UsageError
from decoupled.nn.targets import MULTILABEL, Targets

EXAMPLES_MAX = 65_536  # pairs drawn where there are more
TEST_SHARE = 0.25


def addition(bits: int = 8, seed: int = 0) -> Dataset:
    """Distinct pairs of integers below 2^(bits-1), each written with `bits` bits; the target is their sum's bits.

    A quarter of the pairs is held out, so the network has never seen a test pair. At 8 bits there are 16,384 pairs in
    all. Raises UsageError unless 2 <= bits <= 16.
    """
    if not 2 <= bits <= 16:
        raise UsageError(f"addition takes 2 to 16 bits, not {bits}.")
    numbers = 2 ** (bits - 1)
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(rng.choice(numbers**2, min(numbers**2, EXAMPLES_MAX), replace=False))
    left, right = pairs // numbers, pairs % numbers
    x = np.concatenate([to_bits(left, bits), to_bits(right, bits)], axis=1)
    y = to_bits(left + right, bits)
    held_out = max(1, int(len(x) * TEST_SHARE))
    mean, deviation = whole_scale(x)
    return Dataset("addition", x[held_out:], y[held_out:], x[:held_out], y[:held_out], Targets(MULTILABEL), bits, mean, deviation)


def to_bits(numbers: Array, bits: int) -> Array:
    """N integers as N x bits, the most significant bit first."""
    return (numbers[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)
