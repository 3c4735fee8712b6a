"""The synthetic-gradients tutorial's baseline (Trask 2017, part 4) in this nn prints the tutorial's own losses."""

import numpy as np
import pytest

from decoupled.nn.dense import DenseStage
from decoupled.nn.layers import Dense, Sigmoid
from decoupled.nn.losses import SquaredError
from decoupled.nn.optimisers import SGD, LearningRate
from decoupled.nn.parameters import Array
from decoupled.tensors import TensorSpec

BITS, EXAMPLES, BATCH, ALPHA = 12, 1000, 10, 0.1


def as_bits(number: int) -> Array:
    return np.array([int(bit) for bit in np.binary_repr(number, BITS)], np.float64)


def tutorial_data() -> tuple[Array, Array]:
    """The tutorial draws from numpy's global generator, which it seeds with 1."""
    left = (np.random.rand(EXAMPLES) * 2 ** (BITS - 1)).astype(int)
    right = (np.random.rand(EXAMPLES) * 2 ** (BITS - 1)).astype(int)
    x = np.stack([np.concatenate([as_bits(a), as_bits(b)]) for a, b in zip(left, right, strict=True)])
    return x, np.stack([as_bits(a + b) for a, b in zip(left, right, strict=True)])


def test_the_tutorials_losses_come_out() -> None:
    """Its loss is the sum of |(out - y) out (1 - out)|; alpha 0.1 times a sum over 10 samples is our rate of 1."""
    np.random.seed(1)
    x, y = tutorial_data()
    weights = [np.random.randn(a, b) * 0.2 - 0.1 for a, b in ((24, 128), (128, 64), (64, 12))]
    layers = [layer for i, weight in enumerate(weights) for layer in (Dense(f"layer{i}", weight), Sigmoid())]
    inputs, outputs, constant = TensorSpec.of("float64", 24), TensorSpec.of("float64", 12), LearningRate("constant", 1)
    stage = DenseStage(inputs, outputs, list(layers), SGD(momentum=0.0), ALPHA * BATCH, constant, SquaredError())

    printed = []
    for _ in range(10):
        total = 0.0
        for start in range(0, EXAMPLES, BATCH):
            rows = slice(start, start + BATCH)
            passed = stage.forward((x[rows],))
            (output,), (gradient,) = passed.outputs, stage.loss(passed, (y[rows],)).gradients
            stage.backward(passed, (gradient,), want_dx=False)
            stage.step(BATCH)
            total += float(np.sum(np.abs(gradient * output * (1 - output))))
        printed.append(total)

    assert printed[0] == pytest.approx(1494.3602137319758, rel=1e-12)
    assert printed[1] == pytest.approx(1499.2641966254898, rel=1e-12)
    assert printed[9] == pytest.approx(1413.9852913607235, rel=1e-12)
