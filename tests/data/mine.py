"""Good arrays of a user's own."""

import numpy as np

from decoupled.data.dataset import Array

rng = np.random.default_rng(0)


GOOD: dict[str, Array] = {
    "x_train": rng.standard_normal((30, 4)) * [1, 10, 100, 0] + 5,
    "y_train": np.arange(30) % 3,
    "x_test": rng.standard_normal((9, 4)),
    "y_test": np.arange(9) % 3,
}
