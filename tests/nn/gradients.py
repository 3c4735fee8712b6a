"""Central differences, to hold every backward pass against."""

from collections.abc import Callable

import numpy as np

from decoupled.nn.parameters import Array


def numeric(value: Callable[[], float], at: Array, epsilon: float = 1e-6) -> Array:
    """The gradient of `value()` with respect to the array `at`, which is moved element by element and put back."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        kept = at[index]
        at[index] = kept + epsilon
        above = value()
        at[index] = kept - epsilon
        below = value()
        at[index] = kept
        gradient[index] = (above - below) / (2 * epsilon)
    return gradient
