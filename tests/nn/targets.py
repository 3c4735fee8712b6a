"""Targets for six samples of four outputs, by the loss that takes them."""

import numpy as np

from decoupled.nn.parameters import Array

rng = np.random.default_rng(1)
TARGETS: dict[str, Array] = {
    "softmax": rng.integers(0, 4, 6),
    "sigmoid": rng.integers(0, 2, (6, 4)).astype(np.uint8),
    "squared": rng.standard_normal((6, 4)),
}
