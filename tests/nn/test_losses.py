"""Losses: values, per-sample gradients, and what counts as right."""

import numpy as np
import pytest

from decoupled.nn.losses import LOSSES
from tests.nn.gradients import numeric
from tests.nn.targets import TARGETS

rng = np.random.default_rng(1)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_per_sample(name: str) -> None:
    """B times the derivative of the mean loss: its scale does not depend on the batch size."""
    loss, z, y = LOSSES[name](), rng.standard_normal((6, 4)), TARGETS[name]

    gradient = loss.value_and_gradient(z, y)[1]

    np.testing.assert_allclose(gradient, 6 * numeric(lambda: loss.value_and_gradient(z, y)[0], z), atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_huge_logits_stay_finite(name: str) -> None:
    z = np.array([[1e4, -1e4, 0, 0]] * 6, np.float32)

    value, gradient = LOSSES[name]().value_and_gradient(z, TARGETS[name])

    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_softmax_cross_entropy_of_equal_logits_is_log_of_the_classes() -> None:
    value, _ = LOSSES["softmax"]().value_and_gradient(np.zeros((6, 4)), TARGETS["softmax"])

    assert value == pytest.approx(np.log(4))


def test_bits_count_as_right_only_all_together() -> None:
    loss = LOSSES["sigmoid"]()
    z, y = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[1, 0], [1, 0]])

    assert loss.correct(z, y) == 1
    assert loss.predict(z).tolist() == [[1, 0], [1, 1]]


def test_classes_and_values() -> None:
    assert LOSSES["softmax"]().correct(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1])) == 1
    assert LOSSES["squared"]().correct(np.zeros((2, 1)), np.zeros((2, 1))) is None


@pytest.mark.parametrize("name", LOSSES)
def test_encoded_targets_have_a_column_for_each_output(name: str) -> None:
    assert LOSSES[name]().encode(TARGETS[name], 4).shape == (6, 4)


@pytest.mark.parametrize("targets", [[0, 4], [0, -1], [0], [0, 1, 2]], ids=["too high", "negative", "too few", "too many"])
def test_softmax_refuses_targets_that_are_not_a_class_for_each_sample(targets: list[int]) -> None:
    """The kernel would read and write past the end of its arrays."""
    with pytest.raises(ValueError, match="the targets are not 2 class numbers below 4"):
        LOSSES["softmax"]().value_and_gradient(np.zeros((2, 4), np.float32), np.array(targets))


@pytest.mark.parametrize("kind", ["uint8", "int32", "float32"])
def test_softmax_takes_class_numbers_of_any_type_and_leaves_its_arguments_alone(kind: str) -> None:
    z, y = rng.standard_normal((2, 4)), np.array([3, 0], kind)
    z.flags.writeable = y.flags.writeable = False

    value, gradient = LOSSES["softmax"]().value_and_gradient(z, y)

    shares = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert value == pytest.approx(-np.log(shares[[0, 1], [3, 0]]).mean())
    np.testing.assert_allclose(gradient, shares - np.eye(4)[[3, 0]])
