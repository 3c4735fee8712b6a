"""Small datasets for tests."""

from pathlib import Path

import numpy as np

from decoupled.data.arrays import from_mapping
from decoupled.data.cifar10 import ROW, TEST, TRAIN
from decoupled.data.dataset import Array, Dataset


def _cifar10() -> dict[str, Array]:
    """The content of cifar10's six files, in small."""
    rng = np.random.default_rng(0)
    content = {name: rng.integers(0, 256, (4, ROW)).astype(np.uint8) for name in (*TRAIN, TEST)}
    for rows in content.values():
        rows[:, 0] %= 10
    return content


CIFAR10 = _cifar10()


def write_cifar10(folder: Path) -> Path:
    """Makes the folder, with the six files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in CIFAR10.items():
        (folder / name).write_bytes(rows.tobytes())
    return folder


def blobs(train: int = 200, test: int = 50, features: int = 6, classes: int = 3) -> Dataset:
    """Points round a centre for each class: learnt in an epoch or two."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((classes, features)) * 3
    y = rng.integers(0, classes, train + test)
    x = centres[y] + rng.standard_normal((train + test, features))
    return from_mapping({"x_train": x[:train], "y_train": y[:train], "x_test": x[train:], "y_test": y[train:]}, "blobs")


def prices(outputs: int | None = None) -> Dataset:
    """Values in the hundred thousands that depend on the inputs; with `outputs`, so many a sample, each in a unit of its own."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((250, 6))
    y = 300_000 + 80_000 * x[:, 0] * (x[:, 1] > 0) + 40_000 * x[:, 2]
    y = y if outputs is None else np.stack([y * 1000.0**-i for i in range(outputs)], axis=1)
    return from_mapping({"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}, "prices")
