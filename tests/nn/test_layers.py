"""Every layer's backward pass is the derivative of its forward pass."""

from collections.abc import Callable

import numpy as np
import pytest

from decoupled.nn.layers import BatchNorm, Dense, Identity, Layer, ReLU, Sigmoid, Standardize, Tanh
from tests.nn.gradients import numeric

rng = np.random.default_rng(0)

LAYERS: dict[str, Callable[[], Layer]] = {
    "dense": lambda: Dense("d", rng.standard_normal((5, 5)), rng.standard_normal(5)),
    "dense without bias": lambda: Dense("d", rng.standard_normal((5, 5))),
    "batch norm": lambda: BatchNorm("n", 5, np.float64),
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "identity": Identity,
    "standardize": lambda: Standardize(np.full(1, 0.3), np.full(1, 2.0)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_match_central_differences(name: str) -> None:
    layer = LAYERS[name]()
    x, weight = rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    for parameter in layer.parameters:
        parameter.value += 0.1 * rng.standard_normal(parameter.value.shape)

    def value() -> float:
        return float(np.sum(layer.forward(x, training=True)[0] * weight))

    _, cache = layer.forward(x, training=True)
    dx = layer.backward(weight, cache, want_dx=True)

    assert dx is not None
    np.testing.assert_allclose(dx, numeric(value, x), atol=1e-7)
    for parameter in layer.parameters:
        np.testing.assert_allclose(parameter.gradient, numeric(value, parameter.value), atol=1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_an_unwanted_input_gradient_is_not_computed(name: str) -> None:
    layer = LAYERS[name]()
    y, cache = layer.forward(rng.standard_normal((3, 5)), training=True)

    assert layer.backward(y, cache, want_dx=False) is None


def test_relu_is_flat_at_zero_and_below() -> None:
    layer = ReLU()
    y, cache = layer.forward(np.array([[-1.0, 0.0, 0.3]]), training=True)
    dx = layer.backward(np.ones((1, 3)), cache, want_dx=True)

    assert y.tolist() == [[0.0, 0.0, 0.3]]
    assert dx is not None
    assert dx.tolist() == [[0.0, 0.0, 1.0]]


def test_batch_norm_evaluates_with_running_statistics_and_leaves_them_alone() -> None:
    layer = BatchNorm("n", 3, np.float64)
    x = rng.standard_normal((64, 3)) * [1, 2, 3] + [5, 6, 7]
    for _ in range(200):
        layer.forward(x, training=True)
    mean, variance = layer.mean.copy(), layer.variance.copy()

    y, _ = layer.forward(x[:1], training=False)

    np.testing.assert_allclose(mean, x.mean(axis=0))
    np.testing.assert_allclose(variance, x.var(axis=0, ddof=1))
    np.testing.assert_allclose(y, (x[:1] - mean) / np.sqrt(variance + layer.EPSILON))
    assert (layer.mean == mean).all()
    assert (layer.variance == variance).all()


def test_batch_norm_moves_running_statistics_once_per_microbatch() -> None:
    layer = BatchNorm("n", 1, np.float64)
    x = np.array([[2.0], [4.0]])
    _, cache = layer.forward(x, training=True)
    layer.backward(x, cache, want_dx=True)

    assert layer.mean == pytest.approx([0.1 * 3.0])
    assert layer.variance == pytest.approx([0.9 * 1.0 + 0.1 * 2.0])


def test_batch_norm_of_one_sample_is_finite() -> None:
    layer = BatchNorm("n", 2, np.float32)
    y, _ = layer.forward(np.array([[1, 2]], np.float32), training=True)

    assert np.isfinite(y).all()


def test_standardize_turns_bytes_into_floats_and_keeps_them() -> None:
    x = np.array([[0, 255]], np.uint8)
    y, _ = Standardize(np.array([127.5], np.float32), np.array([127.5], np.float32)).forward(x, training=True)

    assert y.dtype == np.float32
    assert y.tolist() == [[-1.0, 1.0]]
    assert x.tolist() == [[0, 255]]


def test_sigmoid_of_large_numbers_neither_overflows_nor_warns() -> None:
    y, _ = Sigmoid().forward(np.array([[-1e4, 1e4]], np.float32), training=True)

    assert y.tolist() == [[0.0, 1.0]]
