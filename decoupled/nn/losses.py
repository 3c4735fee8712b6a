"""Losses: each gives the mean loss, the per-sample gradient, and what counts as a right answer.

Every loss is a sum over outputs and a mean over samples. With its own link function (softmax, sigmoid, identity) the
gradient with respect to the network's outputs has the one form p - y; the readout head relies on it.
"""

from typing import Protocol

import numpy as np

from decoupled.nn import kernels
from decoupled.nn.layers import sigmoid
from decoupled.nn.parameters import Array
from decoupled.registry import Registry


class Loss(Protocol):
    """What the last stage minimises, and what a readout head minimises on its own."""

    def value_and_gradient(self, outputs: Array, targets: Array) -> tuple[float, Array]:
        """The mean loss and its per-sample gradient, B x C."""

    def predict(self, outputs: Array) -> Array:
        """The answers that these outputs stand for: class numbers, bits or values."""

    def probabilities(self, outputs: Array) -> Array | None:
        """Of each class or bit, B x C; None where the outputs say none."""

    def correct(self, outputs: Array, targets: Array) -> int | None:
        """How many samples are wholly right, or None where right and wrong mean nothing."""

    def encode(self, targets: Array, outputs: int) -> Array:
        """Targets as B x C features, for heads that look at the label."""


class SoftmaxCrossEntropy:
    """-log softmax(z)[y] for class numbers y of shape B and logits z of B x C."""

    def value_and_gradient(self, outputs: Array, targets: Array) -> tuple[float, Array]:
        targets = targets.astype(np.intp)
        if len(targets) != len(outputs) or targets.min() < 0 or targets.max() >= outputs.shape[1]:  # a kernel would not notice
            raise ValueError(f"the targets are not {len(outputs)} class numbers below {outputs.shape[1]}")
        gradient = np.empty_like(outputs)
        return kernels.softmax_cross_entropy(outputs, targets, gradient) / len(outputs), gradient

    def predict(self, outputs: Array) -> Array:
        return np.asarray(outputs.argmax(axis=1))

    def probabilities(self, outputs: Array) -> Array | None:
        exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def correct(self, outputs: Array, targets: Array) -> int | None:
        return int(np.count_nonzero(outputs.argmax(axis=1) == targets))

    def encode(self, targets: Array, outputs: int) -> Array:
        return np.eye(outputs, dtype=np.float32)[targets]


class SigmoidCrossEntropy:
    """The sum over outputs of log(1 + exp(z)) - y z, for bits y and logits z, both B x C."""

    def value_and_gradient(self, outputs: Array, targets: Array) -> tuple[float, Array]:
        value = float(np.mean(np.sum(np.logaddexp(0, outputs) - targets * outputs, axis=1)))
        return value, sigmoid(outputs) - targets

    def predict(self, outputs: Array) -> Array:
        return (outputs > 0).astype(np.uint8)

    def probabilities(self, outputs: Array) -> Array | None:
        return sigmoid(outputs)

    def correct(self, outputs: Array, targets: Array) -> int | None:
        return int(np.count_nonzero(np.all((outputs > 0) == (targets > 0.5), axis=1)))

    def encode(self, targets: Array, outputs: int) -> Array:
        return targets.astype(np.float32)


class SquaredError:
    """Half the sum over outputs of (z - y)^2, for values y and outputs z, both B x C."""

    def value_and_gradient(self, outputs: Array, targets: Array) -> tuple[float, Array]:
        difference = outputs - targets
        return float(np.sum(difference * difference) / (2 * len(outputs))), difference

    def predict(self, outputs: Array) -> Array:
        return outputs

    def probabilities(self, outputs: Array) -> Array | None:
        return None

    def correct(self, outputs: Array, targets: Array) -> int | None:
        return None

    def encode(self, targets: Array, outputs: int) -> Array:
        return targets.astype(np.float32)


LOSSES = Registry("loss", {"softmax": SoftmaxCrossEntropy, "sigmoid": SigmoidCrossEntropy, "squared": SquaredError})
