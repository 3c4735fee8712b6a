"""cifar10: 60,000 colour images of 32 x 32 pixels (Krizhevsky 2009), from its binary files or a checked download."""

import os
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from decoupled.data.augment import FLIP_SHIFT, NONE
from decoupled.data.dataset import Array, Dataset, channel_scale
from decoupled.data.downloads import download
from decoupled.errors import UsageError
from decoupled.nn.targets import CLASSIFICATION, Targets

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
FOLDER, ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
TRAIN, TEST = [f"data_batch_{number}.bin" for number in range(1, 6)], "test_batch.bin"
SHAPE, CLASSES = (3, 32, 32), 10
ROW = 1 + 3 * 32 * 32  # bytes: a label, and the red, green and blue pixels
ROWS_MAX = 10_000  # in a file


def cifar10(directory: Path | None = None, train: int | None = None, augment: bool = True) -> Dataset:
    """50,000 training images, or the first `train` of them, and 10,000 test images: N x 3 x 32 x 32 bytes.

    Looks in `directory`, or else in $DECOUPLED_DATA, for the binary files or the archive that holds them, also in folders
    `cifar10` and `cifar-10-batches-bin`; without either it downloads the archive once. With `augment` the training images
    are flipped and shifted at random. Raises UsageError when a file is missing, malformed or cannot be had.
    """
    given = directory or (Path(os.environ["DECOUPLED_DATA"]) if os.environ.get("DECOUPLED_DATA") else None)
    rows = _read(_find(given) if given else _download())
    to_train = np.concatenate([rows[name] for name in TRAIN])
    if train is not None and not 1 <= train <= len(to_train):
        raise UsageError(f"cifar10 has {len(to_train):,} images to train on, so train={train} cannot be.")
    images, labels = _parts(to_train[:train])
    test_images, test_labels = _parts(rows[TEST])
    mean, deviation = channel_scale(images)
    return Dataset(
        "cifar10",
        images,
        labels,
        test_images,
        test_labels,
        Targets(CLASSIFICATION),
        CLASSES,
        mean,
        deviation,
        augment=FLIP_SHIFT if augment else NONE,
    )


def _find(directory: Path) -> Path:
    """The folder of the binary files, or the archive."""
    for folder in (directory, directory / "cifar10"):
        for place in (folder, folder / FOLDER):
            if (place / TEST).is_file():
                return place
        if (folder / ARCHIVE).is_file():
            return folder / ARCHIVE
    raise UsageError(f"{directory} holds no {TEST} and no {ARCHIVE}. Give cifar10's folder {FOLDER}, or none to download it.")


def _download() -> Path:
    instead = f"Put its {ARCHIVE} in a folder and give that as --data-dir."
    return download("cifar10", URL, f"md5:{MD5}", instead)


def _parts(rows: Array) -> tuple[Array, Array]:
    """The images and the labels of rows of a file."""
    return np.ascontiguousarray(rows[:, 1:]).reshape(-1, *SHAPE), rows[:, 0].astype(np.int64)


def _read(place: Path) -> dict[str, Array]:
    """The rows of the six files, in the folder or in the archive. Nothing is unpacked to the disk."""
    names, rows = (*TRAIN, TEST), dict[str, Array]()
    try:
        if place.is_dir():
            for name in (name for name in names if (place / name).is_file()):
                with (place / name).open("rb") as file:
                    rows[name] = _rows(file, (place / name).stat().st_size, place / name)
        else:
            with tarfile.open(place, "r:gz") as archive:
                for member in archive:  # once through it: to go back would unpack it anew
                    folder, _, name = member.name.rpartition("/")
                    if folder == FOLDER and name in names and (content := archive.extractfile(member)) is not None:
                        rows[name] = _rows(content, member.size, place / name)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UsageError(f"{place} cannot be read: {error}. Fetch it anew.") from None
    if missing := [name for name in names if name not in rows]:
        raise UsageError(f"{place} holds no {missing[0]}. Fetch it anew.")
    return rows


def _rows(file: IO[bytes], size: int, path: Path) -> Array:
    """The rows of one file, whose size is looked at before it is read."""
    if not size or size % ROW or size > ROWS_MAX * ROW:
        raise UsageError(f"{path} is not a file of cifar10's: it has {size:,} bytes. Fetch it anew.")
    content = np.frombuffer(file.read(size), np.uint8)
    if len(content) != size or (rows := content.reshape(-1, ROW))[:, 0].max() >= CLASSES:
        raise UsageError(f"{path} is damaged. Fetch it anew.")
    return rows
