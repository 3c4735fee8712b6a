"""digits: scikit-learn's own, split the same way every time."""

import numpy as np
from sklearn.datasets import load_digits

from decoupled.data.digits import digits


def test_every_digit_is_in_one_of_the_two_parts_with_its_own_label() -> None:
    made, whole = digits(), load_digits()
    given = sorted([*x, y] for x, y in zip(whole.data.tolist(), whole.target.tolist(), strict=True))
    x, y = np.concatenate([made.x_train, made.x_test]), np.concatenate([made.y_train, made.y_test])

    assert sorted([*row, label] for row, label in zip(x.reshape(-1, 64).tolist(), y.tolist(), strict=True)) == given
    assert (len(made.x_train), len(made.x_test)) == (1437, 360)


def test_both_parts_hold_every_class() -> None:
    made = digits()

    assert set(made.y_train.tolist()) == set(made.y_test.tolist()) == set(range(10))
    assert (made.x.shape, made.outputs, made.targets.task) == ((8, 8), 10, "classification")


def test_the_split_is_the_same_every_time() -> None:
    assert (digits().x_test == digits().x_test).all()


def test_scaled_training_pixels_have_mean_0_and_deviation_1() -> None:
    made = digits()
    scaled = (made.x_train - made.mean) / made.deviation

    np.testing.assert_allclose((scaled.mean(), scaled.std()), (0, 1), atol=1e-5)
