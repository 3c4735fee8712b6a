"""A user's own arrays: classified by their targets, and refused with a sentence when they do not fit."""

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.data import load
from decoupled.data.arrays import from_mapping, from_npz
from decoupled.data.dataset import Array, Dataset
from decoupled.errors import UsageError
from decoupled.tensors import ArraySpec

rng = np.random.default_rng(0)
GOOD: dict[str, Array] = {
    "x_train": rng.standard_normal((30, 4)) * [1, 10, 100, 0] + 5,
    "y_train": np.arange(30) % 3,
    "x_test": rng.standard_normal((9, 4)),
    "y_test": np.arange(9) % 3,
}


def changed(**arrays: Any) -> Dataset:
    return from_mapping(GOOD | arrays, "mine")


def refusal(**arrays: Any) -> str:
    """What is said about arrays that do not fit."""
    with pytest.raises(UsageError) as refused:
        changed(**arrays)
    sentence = str(refused.value)
    assert sentence.startswith("mine")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_whole_numbers_are_classes() -> None:
    made = changed(y_test=np.full(9, 6))

    assert (made.loss, made.outputs, made.x.shape) == ("softmax", 7, (4,))
    assert made.y_train.tolist() == GOOD["y_train"].tolist()


def test_rows_of_0_and_1_are_bits() -> None:
    made = changed(y_train=np.eye(5)[np.arange(30) % 5], y_test=np.eye(5, dtype=bool)[np.arange(9) % 5])

    assert (made.loss, made.outputs, made.y_train.dtype.name) == ("sigmoid", 5, "uint8")
    assert made.y_train[6].tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(("shape", "outputs"), [((), 1), ((1,), 1), ((2,), 2)])
def test_other_numbers_are_values(shape: tuple[int, ...], outputs: int) -> None:
    y = rng.standard_normal((30, *shape))

    made = changed(y_train=y, y_test=y[:9])

    assert (made.loss, made.outputs, made.y_train.dtype.name) == ("squared", outputs, "float32")
    np.testing.assert_allclose(made.y_train, y.reshape(30, outputs), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int8", "int32", "int64", "uint16", "float16", "float32", "float64"])
def test_inputs_keep_their_dtype_and_their_shape(dtype: str) -> None:
    x = (np.arange(30 * 6).reshape(30, 2, 3) % 100).astype(dtype)

    made = changed(x_train=x, x_test=x[:9])

    assert made.x == ArraySpec(dtype, (2, 3))
    assert all(array.dtype == dtype for array in (made.x_train, made.x_test))
    assert made.x_train.tolist() == x.tolist()


def test_every_feature_is_scaled_by_itself_and_a_constant_one_becomes_0() -> None:
    made = changed()
    scaled = (made.x_train - made.mean) / made.deviation

    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 1, 0], atol=1e-5)


def test_pixels_stay_bytes_and_are_scaled_together() -> None:
    x = rng.integers(0, 256, (30, 4)).astype(np.uint8)

    made = changed(x_train=x, x_test=x[:9])

    assert made.x_train.dtype == np.uint8
    assert made.mean == pytest.approx(x.mean())
    assert made.deviation == pytest.approx(x.std())


def test_pixels_that_are_all_the_same_can_be_scaled() -> None:
    assert changed(x_train=np.full((30, 4), 7, np.uint8)).deviation == 1


def test_lists_do_as_well() -> None:
    assert load({name: array.tolist() for name, array in GOOD.items()}).outputs == 3


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_array_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"^mine lacks {name};"):
        from_mapping({key: array for key, array in GOOD.items() if key != name}, "mine")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y_train": np.zeros(29, int)}, "30 rows in x_train and 29 in y_train"),
        ({"x_test": np.zeros((8, 4))}, "8 rows in x_test and 9 in y_test"),
        ({"x_test": np.zeros((9, 5))}, "different columns"),
        ({"y_train": np.zeros((30, 2)), "y_test": np.zeros((9, 3))}, "different columns"),
        ({"x_train": np.full((30, 4), np.nan)}, "x_train holds values that are not finite"),
        ({"x_test": np.full((9, 4), np.inf)}, "x_test holds values that are not finite"),
        ({"x_test": np.full((9, 4), 1e300)}, "x_test holds values that are not finite"),
        ({"y_train": np.full(30, np.nan), "y_test": np.zeros(9)}, "y holds values that are not finite"),
        ({"y_train": np.full(30, 1e300), "y_test": np.zeros(9)}, "y holds values that are not finite"),
        ({"y_test": np.arange(9) - 2}, "class numbers are 0 to 65535; y holds -2"),
        ({"y_train": np.full(30, 10**9)}, "y holds 1000000000"),
        ({"y_train": np.full(30, 2**64 - 1, np.uint64)}, "y holds 18446744073709551615"),
        ({"x_train": np.zeros(30)}, "x_train must be numbers of shape (samples, features)"),
        ({"x_train": np.zeros((30, 4), complex)}, "x_train must be numbers"),
        ({"x_test": np.full((9, 4), "a")}, "x_test must be numbers"),
        ({"x_train": np.full((30, 4), None)}, "x_train must be numbers"),
        ({"x_train": [[1.0], [2.0, 3.0]]}, "the rows of x_train differ in length"),
        ({"y_train": np.full(30, None)}, "y must be numbers"),
        ({"y_train": np.full(30, "cat")}, "y must be numbers"),
        ({"y_train": np.zeros((30, 2, 2))}, "y must be numbers"),
        ({"y_train": np.array(3)}, "y must be numbers"),
        ({"x_train": np.zeros((0, 4)), "y_train": np.zeros(0, int)}, "x_train is empty"),
        ({"x_train": np.zeros((30, 0), np.uint8)}, "x_train is empty"),
        ({"y_test": np.zeros(0)}, "y_test is empty"),
        ({"y_train": np.zeros((30, 0))}, "y_train is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], said: str) -> None:
    assert said in refusal(**arrays)


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

    assert sentence.startswith(f"{path} is not an .npz file of plain arrays: ")
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


@pytest.mark.parametrize("name", ["mnits", "data.csv", ""])
def test_an_unknown_dataset_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=f"^There is no dataset '{name}'. Choose digits, addition, mnist, or"):
        load(name)
