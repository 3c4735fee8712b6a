"""A user's own arrays, in memory or in an .npz file, checked and classified by their targets."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from decoupled.data.dataset import Array, Dataset, as_rows, blocks, feature_scale, whole_scale
from decoupled.errors import UsageError

CLASSES_MAX = 65_536
DAMAGE = (ValueError, TypeError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)  # all that a bad archive raises
NEEDED = ("x_train", "y_train", "x_test", "y_test")


def from_npz(path: Path) -> Dataset:
    """The dataset in an .npz file. Raises UsageError when it is missing or is not one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in NEEDED if name in archive}
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.") from None
    except (OSError, EOFError, AttributeError, *DAMAGE) as error:
        raise UsageError(f"{path} is not an .npz file of plain arrays: {first_sentence(error)}.") from None
    return from_mapping(arrays, str(path))


def first_sentence(error: BaseException) -> str:
    """What numpy says is wrong, without its advice to load files unsafely."""
    return str(error).split(".")[0]


def from_mapping(arrays: Mapping[str, Any], name: str) -> Dataset:
    """The dataset of these four arrays, whose first dimension is that of the samples. Inputs keep their dtype and shape.

    Whole numbers, one a sample, are classes (softmax); rows of 0 and 1 are bits (sigmoid); floats are values
    (squared error). Raises UsageError with what does not fit.
    """
    missing = [needed for needed in NEEDED if needed not in arrays]
    if missing:
        raise UsageError(f"{name} lacks {', '.join(missing)}; a dataset has {', '.join(NEEDED)}.")
    given = {key: _array(arrays[key], key, name) for key in NEEDED}
    x_train, x_test = (_inputs(given[key], key, name) for key in ("x_train", "x_test"))
    loss, (y_train, y_test) = _targets(given["y_train"], given["y_test"], name)
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise UsageError(f"{name} has {len(x)} rows in x_{part} and {len(y)} in y_{part}; they must be as many.")
    if x_train.shape[1:] != x_test.shape[1:] or y_train.shape[1:] != y_test.shape[1:]:
        raise UsageError(f"{name} has different columns for training and for testing.")
    outputs = int(max(y_train.max(), y_test.max())) + 1 if loss == "softmax" else y_train.shape[1]
    mean, deviation = (whole_scale if x_train.dtype in (np.uint8, np.bool_) else feature_scale)(x_train)
    dtype = np.result_type(x_train, x_test)  # bytes for the one and floats for the other travel as floats
    x_train, x_test = x_train.astype(dtype, copy=False), x_test.astype(dtype, copy=False)
    return Dataset(name, x_train, y_train, x_test, y_test, loss, outputs, mean, deviation)


def _array(value: Any, key: str, name: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        raise UsageError(f"{name}: the rows of {key} differ in length.") from None
    if not array.size:
        raise UsageError(f"{name}: {key} is empty.")
    return array


def _inputs(x: Array, key: str, name: str) -> Array:
    if x.dtype.kind not in "buif" or x.ndim < 2:
        raise UsageError(f"{name}: {key} must be numbers of shape (samples, features), not {x.dtype} of shape {x.shape}.")
    with np.errstate(over="ignore"):
        if x.dtype.kind == "f" and not all(np.isfinite(as_rows(block)).all() for block in blocks(x)):
            raise UsageError(f"{name}: {key} holds values that are not finite.")
    return x


def _targets(train: Array, test: Array, name: str) -> tuple[str, tuple[Array, Array]]:
    both = (train, test)
    if any(y.dtype.kind not in "buif" or y.ndim not in (1, 2) for y in both):
        raise UsageError(f"{name}: y must be numbers of shape (samples,) or (samples, outputs).")
    bits = all(y.ndim == 2 and np.isin(y, (0, 1)).all() for y in both)
    if not bits and all(y.dtype.kind in "bui" and y.ndim == 2 and y.shape[1] == 1 for y in both):
        both = train, test = train[:, 0], test[:, 0]  # a column of classes
    if all(y.dtype.kind in "bui" and y.ndim == 1 for y in both):
        for number in (n for y in both for n in (int(y.min()), int(y.max()))):
            if not 0 <= number < CLASSES_MAX:
                raise UsageError(f"{name}: class numbers are 0 to {CLASSES_MAX - 1}; y holds {number}.")
        return "softmax", (train.astype(np.int64), test.astype(np.int64))
    if bits:
        return "sigmoid", (train.astype(np.uint8), test.astype(np.uint8))
    with np.errstate(over="ignore"):
        columns = tuple(y.reshape(len(y), -1).astype(np.float32) for y in both)
    if not all(np.isfinite(y).all() for y in columns):
        raise UsageError(f"{name}: y holds values that are not finite.")
    return "squared", (columns[0], columns[1])
