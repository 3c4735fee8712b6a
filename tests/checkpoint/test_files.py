"""Arrays on disk: they come back as they were, or not at all, and a file is never half written."""

import os
from collections.abc import Callable
from pathlib import Path

import ml_dtypes  # noqa: F401 (numpy knows bfloat16 by it)
import numpy as np
import pytest
from safetensors.numpy import save

from decoupled.checkpoint import load_arrays, save_arrays, write_whole
from decoupled.errors import UsageError
from decoupled.nn.parameters import Array

ABOUT = {"run": {"epochs": 3}, "accuracy": 0.5, "name": "ü"}
ARRAYS: dict[str, Array] = {
    "layer0.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "layer0.bias": np.array([1.5, -2.5]),
    "counts": np.array([2**40, -1]),
    "pixels": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    "empty": np.zeros((0, 3), np.float32),
    "number": np.array(7.0),
    "halves": np.array([[1 / 3], [2.0]], np.float16),
    "brains": np.array([[1 / 3], [2.0]], "bfloat16"),
    "flags": np.array([True, False]),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "every other": np.arange(10, dtype=np.int32)[::2],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good file."""
    save_arrays(tmp_path / "model.safetensors", ARRAYS, ABOUT)
    return tmp_path / "model.safetensors"


def refusal(path: Path) -> str:
    """What is said about a file that cannot be loaded."""
    with pytest.raises(UsageError) as refused:
        load_arrays(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_as_it_was(path: Path, name: str) -> None:
    came = load_arrays(path)[0][name]

    assert came.dtype == ARRAYS[name].dtype
    assert came.shape == ARRAYS[name].shape
    np.testing.assert_array_equal(came, ARRAYS[name])


def test_the_description_comes_back_and_no_array_more(path: Path) -> None:
    arrays, about = load_arrays(path)

    assert about == ABOUT
    assert arrays.keys() == ARRAYS.keys()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "no.safetensors") in refusal(tmp_path / "no.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:4],
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"!" + content[9:],
        lambda content: content.replace(b"layer0", b"layer\xff", 1),
        lambda content: content.replace(b'"F32"', b'"F99"', 1),
    ],
    ids=["empty", "no header", "half a header", "truncated", "extended", "huge header", "no JSON", "no text", "unknown type"],
)
def test_a_damaged_file_is_named(path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(path.read_bytes()))

    assert refusal(path).startswith(f"{path} is not a file of arrays that decoupled wrote: ")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95.",
        b"PK\x03\x04" + bytes(200),
        save({"a": np.zeros(2)}),
        save({"a": np.zeros(2)}, metadata={"format": "pt"}),
        save({"a": np.zeros(2)}, metadata={"about": "not JSON"}),
        save({"a": np.zeros(2)}, metadata={"about": "[1]"}),
        save({"a": np.zeros(2)}, metadata={"about": "[" * 100_000}),
    ],
    ids=["pickle", "zip", "no description", "another's", "no JSON", "a list", "lists in lists"],
)
def test_a_foreign_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)

    assert refusal(path).startswith(f"{path} is not a file of arrays that decoupled wrote: ")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path} is not a file of arrays")


def test_any_flipped_bit_in_the_header_gives_arrays_or_a_usage_error(tmp_path: Path) -> None:
    """A flip within a name goes unseen; none may end in another error."""
    path = tmp_path / "model"
    save_arrays(path, {"weight": np.ones((2, 3), np.float32), "mean": np.ones(2)}, {"a": 1})
    good, refused = path.read_bytes(), 0
    header_bytes = 8 + int.from_bytes(good[:8], "little")

    for bit in range(8 * header_bytes):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            load_arrays(path)
        except UsageError:
            refused += 1

    assert refused > 4 * header_bytes


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(path: Path) -> None:
    write_whole(path, b"new")

    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
def test_writing_that_fails_leaves_the_old_file_and_nothing_beside_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(error)):
            save_arrays(path, {"other": np.zeros(3)}, {})

    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_reader_never_sees_half_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment when the new content is on its way to the disk, the old one is still what is read."""
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_bytes()))
    before = path.read_bytes()

    write_whole(path, b"new")

    assert seen == [before]


def test_a_description_that_is_no_json_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()

    with pytest.raises(TypeError):
        save_arrays(path, {}, {"path": path})

    assert path.read_bytes() == before
