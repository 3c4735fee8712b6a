"""Augmentation: each image moved by itself, the same for a seed, an epoch and a batch, and never the test set."""

from dataclasses import replace

import numpy as np
import pytest

from decoupled.data import load
from decoupled.data.augment import KINDS, augmented
from decoupled.data.dataset import Array, Dataset
from decoupled.data.map_style import DatasetSource
from decoupled.errors import UsageError


def images(*shape: int) -> Array:
    """Bytes that are all different from their neighbours."""
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def moved(image: Array, by_rows: int, by_columns: int, is_flipped: bool) -> Array:
    """One image, C x H x W, mirrored and then shifted, with its edge pixels in what is laid bare."""
    image = image[..., ::-1] if is_flipped else image
    reach = 4
    padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), "edge")
    height, width = image.shape[1:]
    return padded[:, reach - by_rows : reach - by_rows + height, reach - by_columns : reach - by_columns + width]


@pytest.mark.parametrize(("kind", "flips", "reach"), [("flip", 2, 0), ("shift", 1, 4), ("flip-shift", 2, 4)])
def test_every_image_is_one_of_its_own_flips_and_shifts_and_all_of_them_come_up(kind: str, flips: int, reach: int) -> None:
    x = images(1, 3, 32, 32)
    ways = {
        moved(x[0], dy, dx, flip).tobytes(): (dy, dx, flip)
        for dy in range(-reach, reach + 1)
        for dx in range(-reach, reach + 1)
        for flip in (False, True)[:flips]
    }

    found = augmented(np.repeat(x, 3000, axis=0), kind, seed=0, epoch=1, batch=0)

    assert {ways[one.tobytes()] for one in found} == set(ways.values())


@pytest.mark.parametrize("shape", [(20, 28, 28), (20, 1, 28, 28), (20, 3, 8, 6)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_keep_their_shape_and_their_type(shape: tuple[int, ...], dtype: str) -> None:
    x = images(*shape).astype(dtype)

    found = augmented(x, "flip-shift", seed=0, epoch=1, batch=0)

    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert not (found == x).all()


def test_channels_stay_together() -> None:
    x = images(20, 1, 16, 16)

    found = augmented(np.concatenate([x, x], axis=1), "flip-shift", seed=0, epoch=1, batch=0)

    assert (found[:, 0] == found[:, 1]).all()


def test_it_depends_on_seed_epoch_and_batch() -> None:
    x = images(20, 8, 8)
    first = augmented(x, "flip-shift", 0, 1, 0)

    assert (first == augmented(x, "flip-shift", 0, 1, 0)).all()
    assert not any((first == augmented(x, "flip-shift", *other)).all() for other in ((1, 1, 0), (0, 2, 0), (0, 1, 1)))


def of_digits(kind: str) -> Dataset:
    found = load("digits", augmentation=kind)
    assert isinstance(found, Dataset)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_taken_up_in_the_middle_is_the_same(kind: str) -> None:
    whole, rest = (list(of_digits(kind).batches(64, 2, start, seed=5)) for start in (0, 7))

    assert all((a == b).all() for one, other in zip(whole[7:], rest, strict=True) for a, b in zip(one, other, strict=True))


def test_only_images_that_are_trained_on_change() -> None:
    plain, changed = of_digits("none"), of_digits("flip-shift")

    assert all((a[0] == b[0]).all() for a, b in zip(plain.test_batches(64, 0), changed.test_batches(64, 0), strict=True))
    for (x, y), (moved_x, same_y) in zip(plain.batches(64, 1, 0, 0), changed.batches(64, 1, 0, 0), strict=True):
        assert (y == same_y).all()
        assert not (x == moved_x).all()
    assert replace(changed, augment="none").fingerprint == plain.fingerprint


def test_a_source_is_never_augmented_here() -> None:
    source = DatasetSource([(np.zeros((8, 8)), 0)] * 9, [(np.zeros((8, 8)), 0)], outputs=2, name="mine")

    assert load(source, augmentation="none") is source
    with pytest.raises(UsageError, match=r"^mine cannot be augmented here: only arrays of images can\.$"):
        load(source, augmentation="flip")


def test_what_are_no_images_cannot_be_augmented() -> None:
    with pytest.raises(UsageError, match=r"^addition cannot be augmented: images are"):
        load("addition", augmentation="shift")
