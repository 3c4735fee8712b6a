"""Small data of every shape: images, sequences of tokens of one length or of several."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from decoupled.data import batches
from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Dataset
from decoupled.data.source import Batch
from decoupled.nn.targets import CLASSIFICATION, Targets
from decoupled.tensors import Array, ArraySpec


def images(train: int = 60, test: int = 20, side: int = 16, channels: int = 1) -> Dataset:
    """Bright in one of four corners."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, train + test)
    x = rng.standard_normal((train + test, channels, side, side))
    half = side // 2
    for one, corner in zip(x, y, strict=True):
        one[:, half * (corner // 2) :, half * (corner % 2) :][:, :half, :half] += 1.5
    x = x.astype(np.float32)
    return from_mapping({"x_train": x[:train], "y_train": y[:train], "x_test": x[train:], "y_test": y[train:]}, "images")


@dataclass(frozen=True)
class Texts:
    """A DataSource of sequences in which each token but the first is that before it, plus one.

    With several lengths, each batch has one of them.
    """

    lengths: tuple[int, ...] = (8,)
    samples: int = 50
    test_samples: int = 20
    tokens: int = 7
    name: str = "texts"
    targets: Targets = field(default_factory=lambda: Targets(CLASSIFICATION))
    scaling: tuple[Array, Array] = (np.zeros(0, np.float32), np.zeros(0, np.float32))
    fingerprint: str = "texts"

    @property
    def outputs(self) -> int:
        return self.tokens

    @property
    def x(self) -> ArraySpec:
        return ArraySpec("int64", (self.lengths[0] if len(self.lengths) == 1 else None,), below=self.tokens)

    y = x

    def _batch(self, rows: int, *seed: int) -> Batch:
        rng = np.random.default_rng(seed)
        whole = (rng.integers(0, self.tokens, (rows, 1)) + np.arange(rng.choice(self.lengths) + 1)) % self.tokens
        return np.ascontiguousarray(whole[:, :-1]), np.ascontiguousarray(whole[:, 1:])

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        for first, stop in batches.bounds(self.samples, batch, start):
            yield self._batch(stop - first, seed, epoch, first)

    def test_batches(self, batch: int, start: int) -> Iterator[Batch]:
        for first, stop in batches.bounds(self.test_samples, batch, start):
            yield self._batch(stop - first, 1, first)
