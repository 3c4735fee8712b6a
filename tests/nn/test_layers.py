"""Every layer's backward pass is the derivative of its forward pass."""

from collections.abc import Callable

import numpy as np
import pytest

from decoupled.nn.layers import BatchNorm, BatchNormReLU, Dense, Identity, Layer, ReLU, Sigmoid, Standardize, Tanh
from tests.nn.gradients import numeric

rng = np.random.default_rng(0)

LAYERS: dict[str, Callable[[], Layer]] = {
    "dense": lambda: Dense("d", rng.standard_normal((5, 5)), rng.standard_normal(5)),
    "dense without bias": lambda: Dense("d", rng.standard_normal((5, 5))),
    "batch norm": lambda: BatchNorm("n", 5, np.float64),
    "batch norm with relu": lambda: BatchNormReLU("n", 5, np.float64),
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


@pytest.mark.parametrize("of", [BatchNorm, BatchNormReLU])
def test_batch_norm_of_one_sample_is_finite(of: type[BatchNorm]) -> None:
    layer = of("n", 2, np.float32)
    y, _ = layer.forward(np.array([[1, 2]], np.float32), training=True)

    assert np.isfinite(y).all()


def test_standardize_turns_bytes_into_floats_and_keeps_them() -> None:
    x = np.array([[0, 255]], np.uint8)
    y, _ = Standardize(np.array([127.5], np.float32), np.array([127.5], np.float32)).forward(x, training=True)

    assert y.dtype == np.float32
    np.testing.assert_allclose(y, [[-1.0, 1.0]], rtol=1e-6)
    assert x.tolist() == [[0, 255]]


def test_sigmoid_of_large_numbers_neither_overflows_nor_warns() -> None:
    y, _ = Sigmoid().forward(np.array([[-1e4, 1e4]], np.float32), training=True)

    assert y.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_norm_with_relu_is_batch_norm_and_then_relu(dtype: type) -> None:
    fused, norm, relu = BatchNormReLU("n", 33, dtype), BatchNorm("n", 33, dtype), ReLU()
    scale, shift = rng.standard_normal((2, 33)).astype(dtype)
    for layer in (fused, norm):
        layer.scale.value[:], layer.shift.value[:] = scale, shift
    rtol, atol = (1e-4, 1e-5) if dtype is np.float32 else (1e-10, 1e-12)

    for _ in range(3):  # the running statistics move with every batch
        x, dy = (2 * rng.standard_normal((2, 257, 33)) + 1).astype(dtype)
        y, cache = fused.forward(x, training=True)
        dx = fused.backward(dy, cache, want_dx=True)
        between, norm_cache = norm.forward(x, training=True)
        expected_y, relu_cache = relu.forward(between, training=True)
        flowing = relu.backward(dy, relu_cache, want_dx=True)
        assert flowing is not None
        expected_dx = norm.backward(flowing, norm_cache, want_dx=True)

        assert dx is not None
        assert expected_dx is not None
        assert {y.dtype, dx.dtype} == {np.dtype(dtype)}
        np.testing.assert_allclose(y, expected_y, rtol=rtol, atol=atol)
        np.testing.assert_allclose(dx, expected_dx, rtol=rtol, atol=atol)
        for mine, theirs in zip(fused.parameters, norm.parameters, strict=True):
            np.testing.assert_allclose(mine.gradient, theirs.gradient, rtol=1e-4, atol=100 * atol)
    np.testing.assert_allclose(fused.mean, norm.mean, rtol=rtol, atol=atol)
    np.testing.assert_allclose(fused.variance, norm.variance, rtol=rtol, atol=atol)

    x = rng.standard_normal((7, 33)).astype(dtype)
    evaluated, _ = fused.forward(x, training=False)
    np.testing.assert_allclose(evaluated, np.maximum(norm.forward(x, training=False)[0], 0), rtol=rtol, atol=atol)
    np.testing.assert_allclose(fused.mean, norm.mean, rtol=rtol, atol=atol)


def test_batch_norm_with_relu_gives_the_same_parameter_gradients_when_no_input_gradient_is_wanted() -> None:
    layer, x, dy = BatchNormReLU("n", 5, np.float64), rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    _, cache = layer.forward(x, training=True)
    layer.backward(dy, cache, want_dx=True)
    wanted = [parameter.gradient.copy() for parameter in layer.parameters]
    for parameter in layer.parameters:
        parameter.gradient[:] = 0

    layer.backward(dy, cache, want_dx=False)

    assert [parameter.gradient.tolist() for parameter in layer.parameters] == [array.tolist() for array in wanted]


def test_batch_norm_with_relu_keeps_what_it_was_given_and_what_it_keeps() -> None:
    """Several batches are in flight at once: none may write into another's cache."""
    layer, (first, second) = BatchNormReLU("n", 5, np.float64), rng.standard_normal((2, 7, 5))
    first.flags.writeable = second.flags.writeable = False
    dy = rng.standard_normal((7, 5))
    _, cache = layer.forward(first, training=True)
    alone = layer.backward(dy, cache, want_dx=True)

    layer.forward(second, training=True)
    after = layer.backward(dy, cache, want_dx=True)

    assert alone is not None
    assert after is not None
    assert (alone == after).all()
