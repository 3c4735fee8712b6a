"""Augmentation: random flips and shifts of the images that are trained on. The test set is never augmented.

What is drawn depends on the seed, the epoch and the batch's number alone, so a resumed run and every schedule see the same.
"""

import numpy as np

from decoupled.errors import UsageError
from decoupled.tensors import Array, ArraySpec

NONE, FLIP_SHIFT = "none", "flip-shift"
KINDS = (NONE, "flip", "shift", FLIP_SHIFT)
REACH = 8  # a shift is by at most this part of a side: 4 of 32 pixels
OF_IMAGES = 0xF11B  # keeps these random numbers apart from those of the batches' order


def check(name: str, x: ArraySpec) -> None:
    """Raises UsageError where samples are no images, which have two dimensions, or three with the channels first."""
    if len(x.shape) not in (2, 3) or None in x.shape:
        raise UsageError(f"{name} cannot be augmented: images are height x width, or channels x height x width, not {x}.")


def augmented(x: Array, kind: str, seed: int, epoch: int, batch: int) -> Array:
    """Images N x H x W or N x C x H x W, each mirrored or not, and shifted by a number of pixels of its own.

    What a shift lays bare is filled with the pixels at the edge.
    """
    if kind == NONE:
        return x
    rng = np.random.default_rng([seed, epoch, batch, OF_IMAGES])
    samples, height, width = len(x), *x.shape[-2:]
    rows, columns = (np.tile(np.arange(side), (samples, 1)) for side in (height, width))
    if "flip" in kind:
        columns = np.where(rng.random((samples, 1)) < 0.5, columns[:, ::-1], columns)
    if "shift" in kind:
        rows, columns = (_shifted(where, side, rng) for where, side in ((rows, height), (columns, width)))
    images = x.reshape(samples, -1, height, width)
    each, channels = np.arange(samples)[:, None, None, None], np.arange(images.shape[1])[:, None, None]
    moved: Array = images[each, channels, rows[:, None, :, None], columns[:, None, None, :]]
    return moved.reshape(x.shape)


def _shifted(where: Array, side: int, rng: np.random.Generator) -> Array:
    """Which pixels come to lie along a side of each image, N x side."""
    reach = side // REACH
    moves = np.arange(side) - rng.integers(-reach, reach, (len(where), 1), endpoint=True)
    taken: Array = np.take_along_axis(where, moves.clip(0, side - 1), axis=1)
    return taken
