"""Datasets: batches from anywhere on, the same fingerprint for the same contents alone, arrays that stay in their file."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Dataset, as_rows, feature_scale
from decoupled.data.source import Batch
from tests.datasets import blobs


@given(st.integers(1, 80), st.integers(1, 90), st.integers(1, 9), st.integers(0, 2**63 - 1), st.floats(0, 1))
def test_batches_from_one_on_are_the_last_of_all(samples: int, batch: int, epoch: int, seed: int, share: float) -> None:
    data = blobs(samples, samples)
    readers: list[Callable[[int], Iterator[Batch]]] = [
        lambda start: data.batches(batch, epoch, start, seed),
        lambda start: data.test_batches(batch, start),
    ]
    for read in readers:
        whole = list(read(0))
        start = round(share * len(whole))

        rest = list(read(start))

        assert [(x.tolist(), y.tolist()) for x, y in rest] == [(x.tolist(), y.tolist()) for x, y in whole[start:]]


def test_the_same_contents_have_the_same_fingerprint() -> None:
    one, other = blobs(3000), blobs(3000)
    strided = replace(other, x_train=np.asfortranarray(other.x_train), name="another")

    assert one.fingerprint == other.fingerprint == strided.fingerprint
    assert one.fingerprint.startswith("sha256:")


def one_bit(data: Dataset) -> Dataset:
    x = data.x_test.copy()
    x[-1, -1] = np.nextafter(x[-1, -1], np.inf)
    return replace(data, x_test=x)


@pytest.mark.parametrize(
    "change",
    [
        one_bit,
        lambda data: replace(data, y_train=data.y_train[::-1]),
        lambda data: replace(data, x_train=data.x_train.reshape(-1, 3, 2)),
        lambda data: replace(data, y_train=data.y_train.view("uint64")),
        lambda data: replace(data, x_train=data.x_test, x_test=data.x_train),
        lambda data: replace(data, targets=replace(data.targets, labels=np.array(["a", "b", "c"]))),
    ],
    ids=["one bit", "order", "shape", "dtype", "train and test", "labels"],
)
def test_other_contents_have_another_fingerprint(change: Callable[[Dataset], Dataset]) -> None:
    assert change(blobs()).fingerprint != blobs().fingerprint


def test_arrays_in_a_file_are_read_from_there(tmp_path: Path) -> None:
    """What is larger than memory is given as np.memmap."""
    data, arrays = blobs(3000), dict[str, Any]()
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.save(tmp_path / f"{name}.npy", getattr(data, name))
        arrays[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    made = from_mapping(arrays, "mapped")

    assert np.shares_memory(made.x_train, arrays["x_train"])
    assert np.shares_memory(made.x_test, arrays["x_test"])
    assert made.fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("uint8", "uint8"), ("bool", "uint8"), ("float64", "float32"), ("int64", "float32"), ("int8", "float32"), ("f2", "float32")],
)
def test_a_fully_connected_network_takes_rows_of_bytes_or_floats(dtype: str, kept: str) -> None:
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)

    rows = as_rows(x)

    assert (rows.dtype.name, rows.shape) == (kept, (2, 12))
    assert (rows == x.reshape(2, 12)).all()


def test_a_column_that_is_constant_as_the_network_takes_it_becomes_0() -> None:
    x = np.full((5000, 2), 0.1)
    x[:, 1] += np.arange(5000) * 1e-12  # which float32 does not tell apart

    mean, deviation = feature_scale(x)

    assert deviation.tolist() == [1, 1]
    np.testing.assert_allclose((as_rows(x) - mean) / deviation, 0, atol=1e-7)
