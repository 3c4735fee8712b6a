"""A user's own arrays, in memory or in an .npz file, checked."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from decoupled.data import targets
from decoupled.data.dataset import Array, Dataset, are_whole, as_rows, blocks, channel_scale, feature_scale, whole_scale
from decoupled.errors import UsageError

DAMAGE = (ValueError, TypeError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)  # all that a bad archive raises
TOKENS_MAX = 1 << 24  # more different ones are rather amounts
NEEDED = ("x_train", "y_train", "x_test", "y_test")


def from_npz(path: Path, task: str | None = None) -> Dataset:
    """The dataset in an .npz file. Raises UsageError when it is missing or is not one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: _read(archive, name, path) for name in NEEDED if name in archive}
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.") from None
    except (OSError, EOFError, AttributeError, *DAMAGE) as error:
        raise UsageError(f"{path} is not an .npz file of plain arrays: {first_sentence(error)}.") from None
    return from_mapping(arrays, str(path), task)


def _read(archive: Mapping[str, Array], name: str, path: Path) -> Array:
    try:
        return archive[name]
    except ValueError as error:
        if not str(error).startswith("Object arrays"):
            raise
    raise UsageError(f"{path}: {name} holds Python objects; save it with .astype(str), or with .astype(float) for numbers.")


def first_sentence(error: BaseException) -> str:
    """What numpy says is wrong, without its advice to load files unsafely."""
    return str(error).split(".")[0]


def from_mapping(arrays: Mapping[str, Any], name: str, task: str | None = None) -> Dataset:
    """The dataset of these four arrays, whose first dimension is that of the samples. Inputs keep their dtype and shape.

    What is learnt of the targets is the task's business (see `targets.read`), which is guessed from them when it is None.
    Raises UsageError with what does not fit.
    """
    missing = [needed for needed in NEEDED if needed not in arrays]
    if missing:
        raise UsageError(f"{name} lacks {', '.join(missing)}; a dataset has {', '.join(NEEDED)}.")
    given = {key: _array(arrays[key], key, name) for key in NEEDED}
    x_train, x_test = (_inputs(given[key], key, name) for key in ("x_train", "x_test"))
    y_train, y_test = (targets.plain(given[key], key, name) for key in ("y_train", "y_test"))
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise UsageError(f"{name} has {len(x)} rows in x_{part} and {len(y)} in y_{part}; they must be as many.")
    if x_train.shape[1:] != x_test.shape[1:] or y_train.shape[1:] != y_test.shape[1:]:
        raise UsageError(f"{name} has different columns for training and for testing.")
    are_tokens = are_whole(x_train.dtype) and x_train.shape == y_train.shape and y_train[0].size > 1
    learnt = targets.read(y_train, y_test, name, task, are_tokens)
    doubts = learnt.doubts
    if x_train.dtype != x_test.dtype:
        types = f"{given['x_train'].dtype} to train on and {given['x_test'].dtype} to test with"
        doubts = (f"The inputs are {types}. Are both in the same units?", *doubts)
    mean, deviation = _scale(x_train)
    dtype = np.result_type(x_train, x_test)  # bytes for the one and floats for the other travel as floats
    x_train, x_test = x_train.astype(dtype, copy=False), x_test.astype(dtype, copy=False)
    below = _below(x_train, x_test)
    outputs = max(learnt.outputs, below or 0) if are_tokens and learnt.targets.are_tokens else learnt.outputs
    y_train, y_test = learnt.y_train, learnt.y_test
    return Dataset(name, x_train, y_train, x_test, y_test, learnt.targets, outputs, mean, deviation, doubts, below=below)


def _scale(x: Array) -> tuple[Array, Array]:
    """One scale for bytes, one for each channel of images N x C x H x W, and else one for each number of a sample."""
    if x.dtype in (np.uint8, np.bool_):
        return whole_scale(x)
    return channel_scale(x) if x.ndim == 4 else feature_scale(x)


def _below(*inputs: Array) -> int | None:
    """What these stay below, where they are whole numbers from 0 on, such as tokens."""
    if not all(are_whole(x.dtype) for x in inputs) or min(x.min() for x in inputs) < 0:
        return None
    below = 1 + max(int(x.max()) for x in inputs)
    return below if below <= TOKENS_MAX else None


def _array(value: Any, key: str, name: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        raise UsageError(f"{name}: the rows of {key} differ in length.") from None
    if not array.size:
        raise UsageError(f"{name}: {key} is empty.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # files may have another order of bytes


def _first_not_finite(x: Array) -> int | None:
    """The first row in which something is not finite, as a network takes it."""
    rows = 0
    for block in blocks(x) if x.dtype.kind == "f" else ():
        if not (finite := np.isfinite(as_rows(block)).all(axis=1)).all():
            return rows + int(finite.argmin())
        rows += len(block)
    return None


def _inputs(x: Array, key: str, name: str) -> Array:
    if x.dtype.kind not in "buif" or x.ndim < 2:
        raise UsageError(f"{name}: {key} must be numbers of shape (samples, features), not {x.dtype} of shape {x.shape}.")
    with np.errstate(over="ignore"):
        row = _first_not_finite(x)
    if row is not None:
        raise UsageError(f"{name}: {key} holds values that are not finite, first in row {row}. Mend or leave them out.")
    return x
