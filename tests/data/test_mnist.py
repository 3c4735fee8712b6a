"""mnist from IDX files: found where they may lie, and checked before use."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pytest

from decoupled.data.dataset import Array
from decoupled.data.mnist import mnist
from decoupled.errors import UsageError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

rng = np.random.default_rng(0)
CONTENT: dict[str, Array] = {
    IMAGES: rng.integers(0, 256, (20, 4, 3)),
    LABELS: rng.integers(0, 10, 20),
    TEST_IMAGES: rng.integers(0, 256, (5, 4, 3)),
    TEST_LABELS: rng.integers(0, 10, 5),
}


def idx(array: Array) -> bytes:
    """An array of bytes as an IDX file (LeCun et al. 1998)."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write(folder: Path, zipped: bool = False) -> Path:
    """The four files."""
    folder.mkdir(exist_ok=True)
    for name, array in CONTENT.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


def refusal(folder: Path) -> str:
    """What is said about files that cannot be used."""
    with pytest.raises(UsageError) as refused:
        mnist(folder)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("below", [".", "mnist"])
def test_files_are_found_plain_or_zipped_in_the_folder_or_in_one_named_mnist(tmp_path: Path, zipped: bool, below: str) -> None:
    write(tmp_path / below, zipped)

    made = mnist(tmp_path)

    assert (made.x_train == CONTENT[IMAGES]).all()
    assert (made.x_test == CONTENT[TEST_IMAGES]).all()
    assert made.y_train.tolist() == CONTENT[LABELS].tolist()
    assert made.y_test.tolist() == CONTENT[TEST_LABELS].tolist()
    assert (made.x_train.dtype.name, made.x.shape, made.outputs, made.targets.task) == ("uint8", (4, 3), 10, "classification")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setenv("DECOUPLED_DATA", str(tmp_path))

    assert len(mnist().x_train) == 20


def test_a_given_folder_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECOUPLED_DATA", str(tmp_path / "elsewhere"))

    assert len(mnist(write(tmp_path / "here")).x_train) == 20


def test_scaling_comes_from_the_training_pixels(tmp_path: Path) -> None:
    made = mnist(write(tmp_path))

    np.testing.assert_allclose(made.mean, CONTENT[IMAGES].mean(), rtol=1e-6)
    np.testing.assert_allclose(made.deviation, CONTENT[IMAGES].std(), rtol=1e-6)


@pytest.mark.parametrize("name", CONTENT)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()

    assert refusal(tmp_path).startswith(f"{tmp_path} holds no {name} or {name}.gz.")


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:7],
        lambda content: content[:3],
        lambda content: b"",
        lambda content: b"\0\0\x0d" + content[3:],
        lambda content: b"<html>" + content,
        lambda content: content[:3] + b"\0" + content[4:],
        lambda content: b"\0\0\x08\xff" + b"\xff" * 1020,
        lambda content: b"\0\0\x08\x64" + bytes(400),
    ],
    ids=["truncated", "extended", "no sizes", "no magic", "empty", "floats", "html", "no dimensions", "huge", "100 dimensions"],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    (write(tmp_path) / name).write_bytes(damage(idx(CONTENT[name])))

    assert refusal(tmp_path) == f"{tmp_path / name} is not a whole IDX file of unsigned bytes."


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-9], lambda content: content[:15] + b"\xff" * 20 + content[35:], lambda content: b"no gzip"],
    ids=["truncated", "garbled", "not gzip"],
)
def test_a_damaged_zipped_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path, zipped=True) / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))

    assert refusal(tmp_path).startswith(f"{path} cannot be read: ")


@pytest.mark.parametrize(
    ("name", "array", "pattern"),
    [
        (LABELS, np.zeros(19), f"{IMAGES} and {LABELS} do not fit"),
        (TEST_LABELS, np.zeros(6), f"{TEST_IMAGES} and {TEST_LABELS} do not fit"),
        (TEST_IMAGES, np.zeros((5, 4, 4)), f"{TEST_IMAGES} and {TEST_LABELS} do not fit"),
        (LABELS, np.zeros((20, 1)), f"{IMAGES} and {LABELS} do not fit"),
        (IMAGES, np.zeros((20, 12)), f"{IMAGES} and {LABELS} do not fit"),
        (TEST_LABELS, np.full(5, 10), f"{TEST_LABELS} holds a label of 10"),
    ],
    ids=["too few labels", "too many labels", "larger images", "labels in rows", "flat images", "no such class"],
)
def test_files_that_do_not_belong_together_are_named(tmp_path: Path, name: str, array: Array, pattern: str) -> None:
    (write(tmp_path) / name).write_bytes(idx(array))

    assert re.match(pattern, refusal(tmp_path))


@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_files_without_samples_are_refused(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).write_bytes(idx(CONTENT[name][:0]))

    assert str(tmp_path / name) in refusal(tmp_path)


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.delenv("DECOUPLED_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", unreachable)

    with pytest.raises(UsageError, match=r"could not be downloaded \(no route to host\)\. .*--data-dir\.$"):
        mnist()
