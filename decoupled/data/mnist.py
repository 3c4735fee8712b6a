"""mnist: 70,000 handwritten digits of 28 x 28 pixels (LeCun et al. 1998), from IDX files or a checked download."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from decoupled.data.dataset import Array, Dataset, whole_scale
from decoupled.data.downloads import download
from decoupled.errors import UsageError
from decoupled.nn.targets import CLASSIFICATION, Targets

FILES = {  # name: the sha256 of the compressed file that is downloaded
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"
CLASSES = 10
IDX_BYTES_MAX = 1 << 28


def mnist(directory: Path | None = None) -> Dataset:
    """60,000 training and 10,000 test images.

    Looks in `directory`, or else in $DECOUPLED_DATA, for the four IDX files, gzipped or not, also in a folder `mnist`;
    without either it downloads them once. Raises UsageError when a file is missing, malformed or cannot be had.
    """
    given = directory or (Path(os.environ["DECOUPLED_DATA"]) if os.environ.get("DECOUPLED_DATA") else None)
    images, labels, test_images, test_labels = (_read(_find(given, name) if given else _download(name)) for name in FILES)
    names = list(FILES)
    for x, y, pair in ((images, labels, names[:2]), (test_images, test_labels, names[2:])):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or x.shape[1:] != images.shape[1:]:
            raise UsageError(f"{' and '.join(pair)} do not fit: images {x.shape}, labels {y.shape}. Fetch mnist's files anew.")
        if y.max() >= CLASSES:
            raise UsageError(f"{pair[1]} holds a label of {y.max()}; mnist's are 0 to {CLASSES - 1}. Fetch mnist's files anew.")
    y_train, y_test = labels.astype(np.int64), test_labels.astype(np.int64)
    return Dataset("mnist", images, y_train, test_images, y_test, Targets(CLASSIFICATION), CLASSES, *whole_scale(images))


def _find(directory: Path, name: str) -> Path:
    for folder in (directory, directory / "mnist"):
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise UsageError(
        f"{directory} holds no {name} or {name}.gz. Give the folder of mnist's four IDX files, or none to download them."
    )


def _download(name: str) -> Path:
    instead = "Put its four IDX files in a folder and give it as --data-dir."
    return download("mnist", f"{SOURCE}{name}.gz", f"sha256:{FILES[name]}", instead)


def _read(path: Path) -> Array:
    """An IDX file of unsigned bytes: a magic number, the sizes, the data, all checked before use."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(IDX_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    ndim = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0  # 0: not such a file
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim))
    start = 4 + 4 * ndim
    if not ndim or not all(shape) or len(content) - start != math.prod(shape):
        raise UsageError(f"{path} is not a whole IDX file of unsigned bytes.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
