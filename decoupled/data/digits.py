"""digits: 1,797 handwritten digits of 8 x 8 pixels that ship with scikit-learn; needs no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from decoupled.data.dataset import Dataset, whole_scale
from decoupled.nn.targets import CLASSIFICATION, Targets

TEST = 360  # images held out


def digits() -> Dataset:
    """1,437 training and 360 test images, always the same split; pixels are 0 to 16."""
    table = np.loadtxt(_file(), np.int64, delimiter=",")
    x, y = table[:, :-1].reshape(-1, 8, 8).astype(np.uint8), table[:, -1]
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[:TEST], order[TEST:]
    mean, deviation = whole_scale(x[train])
    return Dataset("digits", x[train], y[train], x[test], y[test], Targets(CLASSIFICATION), 10, mean, deviation)


def _file() -> Path:
    """Where scikit-learn keeps them: rows of 64 pixels and a label. To import it would take most of a second."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
