"""A dataset: four arrays, and what a network needs to know to be built for them."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from decoupled.tensors import TensorSpec

Array: TypeAlias = NDArray[Any]

BLOCK = 1024  # rows


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Inputs N x D (uint8 or float32) and targets: class numbers (N), bits (N x C) or values (N x C).

    `mean` and `deviation` (of one element, or D) standardise the inputs; the network's first stage applies them.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    loss: str  # that suits the targets: softmax, sigmoid or squared
    outputs: int
    mean: Array
    deviation: Array

    @property
    def inputs(self) -> int:
        return int(self.x_train.shape[1])

    @property
    def input_spec(self) -> TensorSpec:
        """What enters the network."""
        return TensorSpec.of(self.x_train.dtype.name, *self.x_train.shape[1:])

    @property
    def target_spec(self) -> TensorSpec:
        below = self.outputs if self.loss == "softmax" else None
        return TensorSpec.of(self.y_train.dtype.name, *self.y_train.shape[1:], below=below)

    @property
    def scaling(self) -> tuple[Array, Array]:
        return self.mean, self.deviation


def whole_scale(x: Array) -> tuple[Array, Array]:
    """One mean and one deviation for all features: for pixels, some of which never change."""
    mean = x.mean(dtype=np.float64)
    blocks = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))  # so that no copy of all of x is made
    variance = sum(float(np.square(block - mean).sum()) for block in blocks) / x.size
    return np.array([mean], np.float32), np.array([np.sqrt(variance) or 1.0], np.float32)


def feature_scale(x: Array) -> tuple[Array, Array]:
    """A mean and a deviation for each feature: for columns with units of their own. Constant columns become 0."""
    deviation = x.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    return x.mean(axis=0, dtype=np.float64).astype(np.float32), deviation.astype(np.float32)
