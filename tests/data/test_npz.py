"""An .npz file of a user's own: its arrays, and never code; a damaged one is refused with its name."""

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.data.arrays import from_npz
from decoupled.data.dataset import Dataset
from decoupled.errors import UsageError
from tests.data.mine import GOOD


def test_an_npz_file_gives_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **GOOD, notes=np.arange(3))  # type: ignore[arg-type]

    made = from_npz(path)

    assert made.name == str(path)
    np.testing.assert_allclose(made.x_train, GOOD["x_train"], rtol=1e-6)


def npz_refusal(path: Path) -> str:
    with pytest.raises(UsageError) as refused:
        from_npz(path)
    return str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert npz_refusal(tmp_path / "no.npz") == f"There is no file {tmp_path / 'no.npz'}."


def test_an_npz_file_that_lacks_an_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x_train=GOOD["x_train"])

    assert npz_refusal(tmp_path / "mine.npz").startswith(f"{tmp_path / 'mine.npz'} lacks y_train, x_test, y_test;")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("form", ["object array", "pickle"])
def test_a_file_never_runs_code(tmp_path: Path, form: str) -> None:
    path, sprung = tmp_path / "mine.npz", tmp_path / "sprung"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Trap(sprung)))
    else:
        np.savez(path, **(GOOD | {"x_train": np.array([Trap(sprung)])}))  # type: ignore[arg-type]

    sentence = npz_refusal(path)

    assert ("x_train holds Python objects" if form == "object array" else "is not an .npz file of plain arrays") in sentence
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "zip", "no files"]
)
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)

    assert npz_refusal(path).startswith(str(path))


def test_a_single_array_under_the_name_of_an_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with path.open("wb") as file:
        np.save(file, GOOD["x_train"])

    assert npz_refusal(path).startswith(f"{path} is not an .npz file")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A plain and a compressed file."""
    folder = tmp_path_factory.mktemp("npz")
    np.savez(folder / "plain.npz", **GOOD)  # type: ignore[arg-type]
    np.savez_compressed(folder / "small.npz", **GOOD)  # type: ignore[arg-type]
    return [folder / "plain.npz", folder / "small.npz"]


def encrypted(content: bytes) -> bytes:
    """The same file, with its first array marked as encrypted in the list of files."""
    flags = content.index(b"PK\x01\x02") + 8
    return content[:flags] + b"\x01" + content[flags + 1 :]


def unknown(content: bytes) -> bytes:
    """The same file, with its first array marked as packed in a way that nobody knows."""
    method = content.index(b"PK\x01\x02") + 10
    return content[:method] + b"\x63" + content[method + 1 :]


@pytest.mark.parametrize(
    "damage",
    [encrypted, unknown, lambda content: content[:90] + b"\xff" * 40 + content[130:], lambda content: content[:-30]],
    ids=["encrypted", "unknown", "garbled", "truncated"],
)
@pytest.mark.parametrize("which", [0, 1], ids=["plain", "compressed"])
def test_a_damaged_file_is_named(files: list[Path], which: int, damage: Callable[[bytes], bytes]) -> None:
    damaged = files[which].with_name("damaged.npz")
    damaged.write_bytes(damage(files[which].read_bytes()))

    assert npz_refusal(damaged).startswith(f"{damaged} is not an .npz file of plain arrays: ")


@given(st.sampled_from([0, 1]), st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=3))
def test_a_damaged_file_gives_a_dataset_or_a_usage_error(files: list[Path], which: int, flips: list[tuple[int, int]]) -> None:
    content = bytearray(files[which].read_bytes())
    for at, flip in flips:
        content[at % len(content)] ^= flip
    damaged = files[which].with_name("damaged.npz")
    damaged.write_bytes(content)

    with contextlib.suppress(UsageError):
        assert isinstance(from_npz(damaged), Dataset)
