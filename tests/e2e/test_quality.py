"""What the defaults learn of data that scikit-learn brings, and of a table of prices: a figure for each, printed with -s."""

import numpy as np
import pytest
from sklearn import datasets
from sklearn.model_selection import train_test_split

from decoupled import Report, Run, train
from decoupled.tensors import Array

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def report(x: Array, y: Array, task: str | None = None, seed: int = 42) -> Report:
    """Of the default run on three quarters of the samples."""
    parts = train_test_split(x, y, test_size=0.25, random_state=seed)
    named = dict(zip(("x_train", "x_test", "y_train", "y_test"), parts, strict=True))
    return train(Run(data=named, task=task), on_warning=lambda sentence: None)


@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_classes(name: str) -> None:
    accuracy = report(*getattr(datasets, f"load_{name}")(return_X_y=True)).test_accuracy

    print(f"{name}: accuracy {accuracy:.3f}")
    assert accuracy is not None
    assert accuracy >= 0.95


def test_diabetes() -> None:
    """Whole numbers, which are values only where it is said. 442 samples make splits that differ much, so four are averaged."""
    x, y = datasets.load_diabetes(return_X_y=True)
    found = [report(x, y, "regression", seed).test_r2 or 0.0 for seed in (0, 1, 2, 42)]

    print(f"diabetes: R2 {np.mean(found):.3f}, of {', '.join(f'{r2:.3f}' for r2 in found)}")
    assert np.mean(found) >= 0.25


def test_prices() -> None:
    """In the hundred thousands, with products and curves of the features, and noise of 12,000."""
    rng = np.random.default_rng(0)
    area, rooms, age = rng.uniform(40, 250, 4000), rng.integers(1, 8, 4000), rng.uniform(0, 100, 4000)
    distance, quality = rng.gamma(2, 5, 4000), rng.uniform(0, 1, 4000)
    y = 60_000 + 2_000 * area * (0.5 + quality) + 8_000 * rooms - 600 * age + 150_000 * np.exp(-distance / 8)
    found = report(np.stack([area, rooms, age, distance, quality], axis=1), y + rng.normal(0, 12_000, 4000))

    print(f"prices: R2 {found.test_r2:.3f}, mean absolute error {found.test_mae:,.0f}")
    assert found.test_r2 is not None
    assert found.test_r2 >= 0.95
