"""Small datasets for tests."""

import numpy as np

from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Dataset


def blobs(train: int = 200, test: int = 50, features: int = 6, classes: int = 3) -> Dataset:
    """Points round a centre for each class: learnt in an epoch or two."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((classes, features)) * 3
    y = rng.integers(0, classes, train + test)
    x = centres[y] + rng.standard_normal((train + test, features))
    return from_mapping({"x_train": x[:train], "y_train": y[:train], "x_test": x[train:], "y_test": y[train:]}, "blobs")
