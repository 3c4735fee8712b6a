"""digits: 1,797 handwritten digits of 8 x 8 pixels that ship with scikit-learn; needs no download."""

import numpy as np

from decoupled.data.dataset import Dataset, whole_scale

TEST = 360  # images held out


def digits() -> Dataset:
    """1,437 training and 360 test images, always the same split; pixels are 0 to 16."""
    from sklearn.datasets import load_digits  # here, because the import takes half a second and workers do not need it

    bunch = load_digits()
    x, y = bunch.data.astype(np.uint8), bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[:TEST], order[TEST:]
    mean, deviation = whole_scale(x[train])
    return Dataset("digits", x[train], y[train], x[test], y[test], "softmax", 10, mean, deviation)
