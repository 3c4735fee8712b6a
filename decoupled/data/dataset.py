"""A dataset: four arrays, in memory or mapped from a file, and what a network needs to know to be built for them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from decoupled.data import batches
from decoupled.data.augment import NONE, augmented
from decoupled.data.source import Batch
from decoupled.errors import UsageError
from decoupled.nn.targets import CLASSIFICATION, Targets
from decoupled.tensors import Array, ArraySpec

__all__ = ["Array", "Dataset", "channel_scale", "feature_scale", "whole_scale"]

BLOCK = 1024  # rows: of arrays that are larger than memory, only so many are looked at together


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs N x ... (numbers of any kind); targets as they are learnt: class numbers (N), bits or standardised values (N x C).

    `mean` and `deviation` (of one element, one for each number of a sample, or a shape that fits a sample, such as one for
    each channel) standardise the inputs; the network's first stage applies them.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    targets: Targets  # how y_train and y_test were made of the user's targets
    outputs: int
    mean: Array
    deviation: Array
    doubts: tuple[str, ...] = ()  # sentences about what looks wrong with it
    augment: str = NONE  # what is done to the images that are trained on
    below: int | None = None  # what inputs that are whole numbers, such as tokens, stay below

    @property
    def samples(self) -> int:
        return len(self.x_train)

    @property
    def test_samples(self) -> int:
        return len(self.x_test)

    @property
    def x(self) -> ArraySpec:
        return ArraySpec(self.x_train.dtype.name, self.x_train.shape[1:], self.below)

    @property
    def y(self) -> ArraySpec:
        below = self.outputs if self.targets.task == CLASSIFICATION else None
        return ArraySpec(self.y_train.dtype.name, self.y_train.shape[1:], below)

    @property
    def scaling(self) -> tuple[Array, Array]:
        return self.mean, self.deviation

    @cached_property
    def fingerprint(self) -> str:
        """Of the arrays' dtypes, shapes and bytes. It takes about 1.3 seconds for each GB."""
        digest, labels = hashlib.sha256(), self.targets.labels
        about = (*(() if labels is None else (labels,)), *self.targets.arrays.values())
        for array in (self.x_train, self.y_train, self.x_test, self.y_test, *about):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for block in blocks(array):
                digest.update(block.tobytes())
        return f"sha256:{digest.hexdigest()}"

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        """The batches of an epoch in a random order of samples, from batch `start` on."""
        for number, rows in enumerate(batches.shuffled(self.samples, batch, seed, epoch, start), start):
            yield augmented(self.x_train[rows], self.augment, seed, epoch, number), self.y_train[rows]

    def test_batches(self, batch: int, start: int) -> Iterator[Batch]:
        """The batches of the test set, from batch `start` on."""
        for rows in batches.in_order(self.test_samples, batch, start):
            yield self.x_test[rows], self.y_test[rows]


def rows_of(x: ArraySpec) -> ArraySpec:
    """What `as_rows` makes of such inputs. Raises UsageError where a sample's length varies."""
    lengths = [length for length in x.shape if length is not None]
    if len(lengths) < len(x.shape):
        raise UsageError(f"A fully connected network takes samples of one length, not {x}.")
    return ArraySpec("uint8" if _is_bytes(np.dtype(x.dtype)) else "float32", (prod(lengths),))


def as_rows(x: Array) -> Array:
    """Inputs as a fully connected network takes them: N x D, bytes as they are and other numbers as float32."""
    return x.reshape(len(x), -1).astype("uint8" if _is_bytes(x.dtype) else "float32", copy=False)


def scaling_of_rows(x: ArraySpec, scaling: tuple[Array, Array]) -> tuple[Array, Array]:
    """The mean and the deviation for what `as_rows` makes of such inputs: one of each, or one for each number."""
    mean, deviation = scaling
    if not mean.size:  # taken as they are
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    if mean.size == 1:
        return mean.reshape(1), deviation.reshape(1)
    shape = tuple(length or 1 for length in x.shape)
    mean, deviation = (scale if scale.size == prod(shape) else np.broadcast_to(scale, shape) for scale in (mean, deviation))
    return mean.reshape(-1), deviation.reshape(-1)


def as_tokens(x: Array) -> Array:
    """Inputs of any shape: whole numbers as int64, which may be tokens, and others as they are."""
    return x.astype(np.int64, copy=False) if are_whole(x.dtype) else x


def _is_bytes(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "bu" and dtype.itemsize == 1


def are_whole(dtype: np.dtype[Any]) -> bool:
    """Whether these are whole numbers that may be tokens, as bytes and booleans are not."""
    return dtype.kind in "ui" and not _is_bytes(dtype)


def blocks(array: Array) -> Iterator[Array]:
    """The array, some rows at a time."""
    for start in range(0, len(array), BLOCK):
        yield array[start : start + BLOCK]


def whole_scale(x: Array) -> tuple[Array, Array]:
    """One mean and one deviation for all features: for pixels, some of which never change."""
    mean = x.mean(dtype=np.float64)
    variance = sum(float(np.square(block - mean).sum()) for block in blocks(x)) / x.size
    return np.array([mean], np.float32), np.array([np.sqrt(variance) or 1.0], np.float32)


def feature_scale(x: Array) -> tuple[Array, Array]:
    """A mean and a deviation for each feature: for columns with units of their own. Constant columns become 0."""
    mean = sum(as_rows(block).sum(axis=0, dtype=np.float64) for block in blocks(x)) / len(x)
    variance = sum(np.square(as_rows(block) - mean).sum(axis=0) for block in blocks(x)) / len(x)
    first = as_rows(x[:1])
    is_constant = np.logical_and.reduce([(as_rows(block) == first).all(axis=0) for block in blocks(x)])
    deviation = np.where(is_constant, 1.0, np.sqrt(variance))
    return mean.astype(np.float32), deviation.astype(np.float32)


def channel_scale(x: Array) -> tuple[Array, Array]:
    """A mean and a deviation for each channel of images N x C x H x W, of shape C x 1 x 1. Constant channels become 0."""
    shape, pixels, axes = (x.shape[1], 1, 1), x.size // x.shape[1], (0, 2, 3)
    mean = (sum(block.sum(axis=axes, dtype=np.float64) for block in blocks(x)) / pixels).reshape(shape)
    variance = sum(np.square(block - mean).sum(axis=axes) for block in blocks(x)) / pixels
    lowest, highest = (bound([bound(block, axis=axes) for block in blocks(x)], axis=0) for bound in (np.min, np.max))
    deviation = np.where(lowest == highest, 1.0, np.sqrt(variance)).reshape(shape)
    return mean.astype(np.float32), deviation.astype(np.float32)
