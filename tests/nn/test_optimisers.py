"""Optimisers against their textbook formulas, and learning rates over a run."""

from collections.abc import Callable

import numpy as np
import pytest

from decoupled.nn.optimisers import SGD, Adam, LearningRate, NAdam, Optimiser
from decoupled.nn.parameters import Pack, Parameter, pack

rng = np.random.default_rng(2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_follows_its_formula(momentum: float, dtype: type, tolerance: float) -> None:
    w, v = rng.standard_normal(1001), np.zeros(1001)
    packed, optimiser = Pack(w.astype(dtype), np.empty(1001, dtype)), SGD(momentum)

    for step in range(1, 6):
        g = rng.standard_normal(1001)
        packed.gradients[:] = g * 4  # the sum over four samples
        optimiser.step(packed, samples=4, rate=0.1 / step)
        v = momentum * v + g
        w = w - 0.1 / step * v

    assert packed.values.dtype == dtype
    np.testing.assert_allclose(packed.values, w, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("size_of_gradients", [1.0, 1e-7])  # beside the smaller ones epsilon is large
def test_adam_follows_algorithm_1(size_of_gradients: float, dtype: type, tolerance: float) -> None:
    w, m, v = rng.standard_normal(1001), np.zeros(1001), np.zeros(1001)
    packed, optimiser = Pack(w.astype(dtype), np.empty(1001, dtype)), Adam()

    for t in range(1, 6):
        g = rng.standard_normal(1001) * size_of_gradients
        packed.gradients[:] = g * 8
        optimiser.step(packed, samples=8, rate=0.01 / t)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 / t * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    assert packed.values.dtype == dtype
    np.testing.assert_allclose(packed.values, w, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_nadam_follows_its_formula(momentum: float, dtype: type, tolerance: float) -> None:
    """With the momentum of step t as Dozat 2016 lets it rise: mu_t = momentum (1 - 0.96^(t / 250) / 2)."""
    w, m, v, product = rng.standard_normal(1001), np.zeros(1001), np.zeros(1001), 1.0
    packed, optimiser = Pack(w.astype(dtype), np.empty(1001, dtype)), NAdam(momentum)

    for t in range(1, 6):
        g = rng.standard_normal(1001)
        packed.gradients[:] = g * 8
        optimiser.step(packed, samples=8, rate=0.01 / t)
        now, following = (momentum * (1 - 0.5 * 0.96 ** (at / 250)) for at in (t, t + 1))
        product *= now
        m, v = momentum * m + (1 - momentum) * g, 0.999 * v + 0.001 * g**2
        ahead = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        w = w - 0.01 / t * ahead / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    assert packed.values.dtype == dtype
    np.testing.assert_allclose(packed.values, w, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("made", [SGD, Adam, NAdam])
def test_an_optimiser_goes_on_from_its_state(made: Callable[[], Optimiser]) -> None:
    whole, first, second = made(), made(), made()
    at_once, in_parts = (Pack(np.ones(5), np.array([1.0, -2.0, 3.0, -4.0, 5.0])) for _ in range(2))

    for _ in range(6):
        whole.step(at_once, samples=1, rate=0.1)
    for _ in range(3):
        first.step(in_parts, samples=1, rate=0.1)
    for name, array in first.state(in_parts).items():
        second.state(in_parts)[name][...] = array
    for _ in range(3):
        second.step(in_parts, samples=1, rate=0.1)

    assert (at_once.values == in_parts.values).all()


def test_a_step_does_not_depend_on_how_often_samples_are_repeated() -> None:
    """Gradients are sums over samples: twice the sum over twice the samples is the same step."""
    once, twice = (Pack(np.ones(4), np.full(4, 3.0 * n)) for n in (1, 2))
    Adam().step(once, samples=5, rate=0.1)
    Adam().step(twice, samples=10, rate=0.1)

    np.testing.assert_allclose(once.values, twice.values, rtol=1e-12)


def test_packed_parameters_are_views_of_the_flat_arrays() -> None:
    parameters = [Parameter.of("a", np.arange(6.0).reshape(2, 3)), Parameter.of("b", np.array([7.0]))]

    packed = pack(parameters)
    packed.values[:] += 1
    parameters[1].gradient[:] = 5

    assert parameters[0].value.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert packed.gradients.tolist() == [0, 0, 0, 0, 0, 0, 5]


@pytest.mark.parametrize(("decay", "factors"), [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0]), ("cosine", [1, 0.5, 0])])
def test_learning_rates_at_the_start_the_middle_and_the_end(decay: str, factors: list[float]) -> None:
    rate = LearningRate(decay, steps_total=10)

    assert [rate.factor(step) for step in (0, 5, 10)] == pytest.approx(factors)


@pytest.mark.parametrize(("decay", "then"), [("constant", [1, 1, 1, 1, 1]), ("linear", [1, 0.75, 0.5, 0.25, 0])])
def test_the_rate_rises_in_equal_steps_and_then_falls(decay: str, then: list[float]) -> None:
    rate = LearningRate(decay, steps_total=8, warm_up=4)

    assert [rate.factor(step) for step in range(9)] == pytest.approx([0.25, 0.5, 0.75, 1, *then])


def test_a_learning_rate_stays_at_its_end_after_the_run() -> None:
    assert LearningRate("linear", 10).factor(99) == 0
