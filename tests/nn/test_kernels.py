"""The compiled kernels against what they say they compute, written as whole-array numpy in double precision."""

from typing import Any

import numpy as np
import pytest

from decoupled.nn import kernels
from decoupled.nn.parameters import Array

SHAPES = [(1, 5), (7, 1), (257, 33)]
DTYPES = [np.float32, np.float64]
TOLERANCE: dict[Any, float] = {np.float32: 2e-5, np.float64: 1e-12}

every_type = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["one row", "one column", "257 x 33"])


def drawn(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    """Random numbers that nobody may write to, as arrays from the wire are."""
    array: Array = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    array.flags.writeable = False
    return array


def empty(shape: tuple[int, ...] | int, dtype: Any) -> Array:
    """Room for a result, full of NaN: whatever a kernel leaves out shows."""
    return np.full(shape, np.nan, dtype)


def wide(*arrays: Array) -> list[Array]:
    """Copies in double precision."""
    return [array.astype(np.float64) for array in arrays]


def close(found: Array, expected: Array, dtype: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@every_type
@pytest.mark.parametrize("size", [1, 257 * 33])
def test_sgd_moves_velocity_and_then_values(dtype: Any, size: int) -> None:
    values, velocity, g = drawn((size,), dtype, 1).copy(), drawn((size,), dtype, 2).copy(), drawn((size,), dtype, 3)
    w, v, wide_g = wide(values, velocity, g)

    kernels.sgd(values, g, velocity, dtype(0.9), dtype(0.25), dtype(0.1))

    close(velocity, 0.9 * v + 0.25 * wide_g, dtype)
    close(values, w - 0.1 * (0.9 * v + 0.25 * wide_g), dtype)


@every_type
@pytest.mark.parametrize("size", [1, 257 * 33])
def test_adam_moves_both_moments_and_then_values(dtype: Any, size: int) -> None:
    values, first, g = drawn((size,), dtype, 1).copy(), drawn((size,), dtype, 2).copy(), drawn((size,), dtype, 3)
    second = np.square(drawn((size,), dtype, 4))
    decays: Array = np.array([0.9, 0.99], dtype)
    shares: Array = np.array([0.025, 0.0006], dtype)
    w, m, v, wide_g = wide(values, first, second, g)

    kernels.adam(values, g, first, second, decays, shares, dtype(0.1), dtype(1e-3))

    m, v = 0.9 * m + 0.025 * wide_g, 0.99 * v + 0.0006 * wide_g**2
    close(first, m, dtype)
    close(second, v, dtype)
    close(values, w - 0.1 * m / (np.sqrt(v) + 1e-3), dtype)


@every_type
@pytest.mark.parametrize("size", [1, 257 * 33])
def test_nadam_moves_both_moments_and_then_values_by_the_gradient_as_well(dtype: Any, size: int) -> None:
    values, first, g = drawn((size,), dtype, 1).copy(), drawn((size,), dtype, 2).copy(), drawn((size,), dtype, 3)
    second = np.square(drawn((size,), dtype, 4))
    decays: Array = np.array([0.9, 0.99], dtype)
    shares: Array = np.array([0.025, 0.0006], dtype)
    rates: Array = np.array([0.1, 0.02], dtype)
    w, m, v, wide_g = wide(values, first, second, g)

    kernels.nadam(values, g, first, second, decays, shares, rates, dtype(1e-3))

    m, v = 0.9 * m + 0.025 * wide_g, 0.99 * v + 0.0006 * wide_g**2
    close(first, m, dtype)
    close(second, v, dtype)
    close(values, w - (0.1 * m + 0.02 * wide_g) / (np.sqrt(v) + 1e-3), dtype)


@every_type
@every_shape
@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_scaling_is_column_by_column_and_takes_whole_numbers(dtype: Any, shape: tuple[int, int], kind: str) -> None:
    x = np.random.default_rng(5).integers(0, 256, shape, np.uint8) if kind == "bytes" else drawn(shape, np.float32)
    x.flags.writeable = False
    factor, offset = drawn((shape[1],), dtype, 6), drawn((shape[1],), dtype, 7)
    y = empty(shape, dtype)

    kernels.scale(x, factor, offset, y)

    np.testing.assert_allclose(y, x.astype(np.float64) * factor + offset, rtol=1e-5, atol=1e-4)


@every_type
@every_shape
def test_moments_are_the_mean_and_the_biased_variance_of_each_column(dtype: Any, shape: tuple[int, int]) -> None:
    z = drawn(shape, dtype)
    mean, variance = empty(shape[1], dtype), empty(shape[1], dtype)

    kernels.moments(z, mean, variance)

    close(mean, z.astype(np.float64).mean(axis=0), dtype)
    close(variance, z.astype(np.float64).var(axis=0), dtype)


def test_the_variance_of_a_column_far_from_zero_keeps_its_digits() -> None:
    """The mean of the squares less the square of the mean would be off by several times the variance itself."""
    z = (1e4 + np.random.default_rng(8).standard_normal((257, 33))).astype(np.float32)
    mean, variance = empty(33, np.float32), empty(33, np.float32)

    kernels.moments(z, mean, variance)

    np.testing.assert_allclose(mean, z.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, z.astype(np.float64).var(axis=0), rtol=1e-4)


def test_a_constant_column_has_no_variance_and_never_less() -> None:
    z = np.full((257, 3), [0.1, 1e4 / 3, -7.7], np.float32)
    mean, variance = empty(3, np.float32), empty(3, np.float32)

    kernels.moments(z, mean, variance)

    assert mean.tolist() == z[0].tolist()
    assert variance.tolist() == [0, 0, 0]


@pytest.mark.parametrize("at", [0, 5])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_moments_of_a_column_that_went_astray_show_it_and_those_of_others_do_not(at: int, value: float) -> None:
    z = drawn((9, 2), np.float32).copy()
    z[at, 1] = value
    mean, variance = empty(2, np.float32), empty(2, np.float32)

    kernels.moments(z, mean, variance)

    assert np.isfinite([mean[0], variance[0]]).all()
    assert not np.isfinite(mean[1])
    assert not np.isfinite(variance[1])


@every_type
@every_shape
def test_scale_relu_scales_shifts_and_cuts_off_below_zero(dtype: Any, shape: tuple[int, int]) -> None:
    z, factor, offset = drawn(shape, dtype), drawn((shape[1],), dtype, 1), drawn((shape[1],), dtype, 2)
    y = empty(shape, dtype)

    kernels.scale_relu(z, factor, offset, y)

    wide_z, wide_factor, wide_offset = wide(z, factor, offset)
    close(y, np.maximum(wide_z * wide_factor + wide_offset, 0), dtype)


@every_type
def test_the_relu_keeps_nan_and_infinity(dtype: Any) -> None:
    z: Array = np.array([[np.nan], [np.inf], [-np.inf], [-1.0]], dtype)
    y: Array = np.full((4, 1), 3.0, dtype)
    one: Array = np.ones(1, dtype)

    kernels.scale_relu(z, one, 0 * one, y)

    assert np.isnan(y[0, 0])
    assert y[1:, 0].tolist() == [np.inf, 0, 0]


def norm_relu_case(shape: tuple[int, int], dtype: Any) -> tuple[Array, Array, Array, Array, Array]:
    """What a backward pass through a batch norm and its ReLU starts from."""
    features = shape[1]
    dy, y, z = drawn(shape, dtype, 1), np.maximum(drawn(shape, dtype, 2), 0), drawn(shape, dtype, 3)
    mean, inverse = drawn((features,), dtype, 4), np.abs(drawn((features,), dtype, 5)) + dtype(0.5)
    return dy, y, z, mean, inverse


@every_type
@every_shape
def test_norm_relu_sums_leave_out_what_the_relu_cut_off(dtype: Any, shape: tuple[int, int]) -> None:
    case = norm_relu_case(shape, dtype)
    d_scale, d_shift = empty(shape[1], dtype), empty(shape[1], dtype)

    kernels.norm_relu_sums(*case, d_scale, d_shift)

    dy, y, z, mean, inverse = wide(*case)
    g = dy * (y > 0)
    np.testing.assert_allclose(d_shift, g.sum(axis=0), rtol=1e-4, atol=10 * TOLERANCE[dtype])
    np.testing.assert_allclose(d_scale, (g * (z - mean) * inverse).sum(axis=0), rtol=1e-4, atol=10 * TOLERANCE[dtype])


@every_type
@every_shape
def test_norm_relu_back_takes_off_what_the_batchs_statistics_explain(dtype: Any, shape: tuple[int, int]) -> None:
    case = norm_relu_case(shape, dtype)
    scale, d_scale, d_shift = (drawn((shape[1],), dtype, seed) for seed in (6, 7, 8))
    dz = empty(shape, dtype)

    kernels.norm_relu_back(*case, scale, d_scale, d_shift, dtype(1 / shape[0]), dz)

    dy, y, z, mean, inverse = wide(*case)
    normal = (z - mean) * inverse
    expected = (dy * (y > 0) - (d_shift.astype(np.float64) + normal * d_scale) / shape[0]) * scale * inverse
    np.testing.assert_allclose(dz, expected, rtol=1e-4, atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("active", [0.0, 1.0])
def test_a_gradient_that_went_astray_is_not_hidden_by_the_relu(active: float) -> None:
    dy, y = np.array([[np.nan], [1.0]]), np.array([[active], [1.0]])
    z, one = np.array([[0.5], [-0.5]]), np.ones(1)
    d_scale, d_shift, dz = np.zeros(1), np.zeros(1), np.zeros((2, 1))

    kernels.norm_relu_sums(dy, y, z, one, one, d_scale, d_shift)
    kernels.norm_relu_back(dy, y, z, one, one, one, d_scale, d_shift, np.float64(0.5), dz)

    assert np.isnan([d_scale[0], d_shift[0], dz[0, 0]]).all()


def log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@every_type
@every_shape
def test_softmax_cross_entropy_sums_over_samples_and_gives_each_ones_gradient(dtype: Any, shape: tuple[int, int]) -> None:
    z, y = drawn(shape, dtype), np.random.default_rng(9).integers(0, shape[1], shape[0])
    y.flags.writeable = False
    gradient = empty(shape, dtype)

    total = kernels.softmax_cross_entropy(z, y, gradient)

    logs = log_softmax(z.astype(np.float64))
    assert total == pytest.approx(-logs[np.arange(shape[0]), y].sum(), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
    close(gradient, np.exp(logs) - np.eye(shape[1])[y], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_huge_outputs_neither_overflows_nor_loses_the_loss(dtype: Any) -> None:
    """-log softmax is a small difference of huge numbers: whichever way it is added up, the small number must be left."""
    z: Array = np.array([[1e30, -1e30, 0], [-1e30, -1e30, -1e30]], dtype)
    y = np.array([0, 1])
    gradient = empty((2, 3), dtype)

    total = kernels.softmax_cross_entropy(z, y, gradient)

    assert total == pytest.approx(np.log(3))
    close(gradient, np.array([[0, 0, 0], [1 / 3, -2 / 3, 1 / 3]]), dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_loss_of_outputs_that_went_astray_shows_it(value: float, at: int) -> None:
    z, y = np.zeros((2, 3), np.float32), np.array([1, 1])
    z[1, at] = value
    gradient = np.zeros((2, 3), np.float32)

    total = kernels.softmax_cross_entropy(z, y, gradient)

    assert not np.isfinite(total)
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(gradient[1, 1])
