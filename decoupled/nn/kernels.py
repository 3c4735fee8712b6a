"""Kernels: the element-wise work of a step, compiled so that each array is read and written as few times as can be.

A whole-array expression reads and writes memory for every operator in it; these loops do so once for all of them. Each
has a plain numpy twin in its test. Scalars come as the arrays' own type, or the arithmetic would be in double precision.

A kernel is compiled at its first call for the types it meets and then kept in a cache on disk; `runtime/warmup.py`
sees to it that this never happens inside a run's timing.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from decoupled.nn.parameters import Array

P = ParamSpec("P")
R = TypeVar("R")

# A product and a sum may be one instruction, and a division by the same value a product. Sums keep their order, which costs
# nothing where they go down columns; infinities and NaN keep their meaning, so that a run that diverged is seen to have.
FAST = {"contract", "nsz", "arcp"}


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, made (or taken from the cache) when it is first called.

    numba is imported only then: that takes most of a second, which a command that trains nothing need not wait for.
    """

    @cache
    def kernel() -> Callable[P, R]:
        import numba

        options: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}
        try:
            made: Callable[P, R] = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # there is no folder that a cache can be written to
            made = numba.njit(**options)(function)
        return made

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return kernel()(*args, **kwargs)

    return call


@compiled
def sgd(values: Array, gradients: Array, velocity: Array, momentum: Any, share: Any, rate: Any) -> None:
    """v = momentum v + share g and w = w - rate v, on flat arrays."""
    for i in range(values.size):
        velocity[i] = momentum * velocity[i] + share * gradients[i]
        values[i] -= rate * velocity[i]


@compiled
def adam(
    values: Array, gradients: Array, first: Array, second: Array, decays: Array, shares: Array, rate: Any, epsilon: Any
) -> None:
    """m = decay1 m + share1 g, v = decay2 v + share2 g^2 and w = w - rate m / (sqrt(v) + epsilon), on flat arrays."""
    for i in range(values.size):
        g = gradients[i]
        m = decays[0] * first[i] + shares[0] * g
        v = decays[1] * second[i] + shares[1] * g * g
        first[i] = m
        second[i] = v
        values[i] -= rate * m / (np.sqrt(v) + epsilon)


@compiled
def nadam(
    values: Array, gradients: Array, first: Array, second: Array, decays: Array, shares: Array, rates: Array, epsilon: Any
) -> None:
    """As Adam's, but w = w - (rate1 m + rate2 g) / (sqrt(v) + epsilon), on flat arrays."""
    for i in range(values.size):
        g = gradients[i]
        m = decays[0] * first[i] + shares[0] * g
        v = decays[1] * second[i] + shares[1] * g * g
        first[i] = m
        second[i] = v
        values[i] -= (rates[0] * m + rates[1] * g) / (np.sqrt(v) + epsilon)


@compiled
def scale(x: Array, factor: Array, offset: Array, y: Array) -> None:
    """y = x factor + offset, column by column; x may hold whole numbers."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] * factor[j] + offset[j]


@compiled
def moments(z: Array, mean: Array, variance: Array) -> None:
    """The mean and the (biased) variance of each column of z, B x H.

    Both are of the differences from the first row: a square of a column's far mean would swallow the variance's digits.
    """
    rows, columns = z.shape
    for j in range(columns):
        mean[j] = 0
        variance[j] = 0
    for i in range(1, rows):
        for j in range(columns):
            difference = z[i, j] - z[0, j]
            mean[j] += difference
            variance[j] += difference * difference
    for j in range(columns):
        offset = mean[j] / rows
        variance[j] = variance[j] / rows - offset * offset
        if variance[j] < 0:
            variance[j] = 0
        mean[j] = z[0, j] + offset


@compiled
def scale_relu(z: Array, factor: Array, offset: Array, y: Array) -> None:
    """y = max(z factor + offset, 0), column by column."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            value = z[i, j] * factor[j] + offset[j]
            y[i, j] = 0 if value < 0 else value  # this way round NaN stays NaN


@compiled
def norm_relu_sums(dy: Array, y: Array, z: Array, mean: Array, inverse: Array, d_scale: Array, d_shift: Array) -> None:
    """The gradients of a batch norm's scale and shift, through the ReLU that follows it."""
    rows, columns = z.shape
    for j in range(columns):
        d_scale[j] = 0
        d_shift[j] = 0
    for i in range(rows):
        for j in range(columns):
            g = dy[i, j] if y[i, j] > 0 else 0 * dy[i, j]
            d_shift[j] += g
            d_scale[j] += g * ((z[i, j] - mean[j]) * inverse[j])


@compiled
def norm_relu_back(
    dy: Array,
    y: Array,
    z: Array,
    mean: Array,
    inverse: Array,
    scale: Array,
    d_scale: Array,
    d_shift: Array,
    share: Any,
    dz: Array,
) -> None:
    """The gradient of a batch norm's input, through the ReLU that follows it; `share` is 1 / B."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            g = dy[i, j] if y[i, j] > 0 else 0 * dy[i, j]
            normal = (z[i, j] - mean[j]) * inverse[j]
            dz[i, j] = (g - (d_shift[j] + normal * d_scale[j]) * share) * (scale[j] * inverse[j])


@compiled
def softmax_cross_entropy(outputs: Array, targets: Array, gradient: Array) -> float:
    """The sum over samples of -log softmax(z)[y]; sets its gradient, softmax(z) - one-hot(y). Outputs are B x C."""
    rows, columns = outputs.shape
    total = 0.0
    for i in range(rows):
        largest = outputs[i, 0]
        for j in range(1, columns):
            largest = max(largest, outputs[i, j])
        exponentials = 0 * largest
        for j in range(columns):
            gradient[i, j] = np.exp(outputs[i, j] - largest)
            exponentials += gradient[i, j]
        for j in range(columns):
            gradient[i, j] /= exponentials
        target = targets[i]
        gradient[i, target] -= 1
        total += np.log(exponentials) - (outputs[i, target] - largest)
    return total
