"""A user's own arrays: classified by their targets, and refused with a sentence when they do not fit."""

from typing import Any

import numpy as np
import pytest

from decoupled.data import load
from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Array, Dataset
from decoupled.errors import UsageError
from decoupled.tensors import ArraySpec
from tests.data.mine import GOOD, rng


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
    made = changed()

    assert (made.targets.task, made.outputs, made.x.shape) == ("classification", 3, (4,))
    assert made.targets.labels is None
    assert made.doubts == ()
    assert made.y_train.tolist() == GOOD["y_train"].tolist()


def test_rows_of_0_and_1_are_bits() -> None:
    made = changed(y_train=np.eye(5)[np.arange(30) % 5], y_test=np.eye(5, dtype=bool)[np.arange(9) % 5])

    assert (made.targets.task, made.outputs, made.y_train.dtype.name) == ("multilabel", 5, "uint8")
    assert made.y_train[6].tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(("shape", "outputs"), [((), 1), ((1,), 1), ((2,), 2)])
def test_other_numbers_are_values(shape: tuple[int, ...], outputs: int) -> None:
    y = rng.standard_normal((30, *shape))

    made = changed(y_train=y, y_test=y[:9])

    assert (made.targets.task, made.outputs, made.y_train.dtype.name) == ("regression", outputs, "float32")
    np.testing.assert_allclose(made.y_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(made.y_train.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(made.targets.restored(made.y_train), y, rtol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["cat", "dog", "owl"]),
        np.array(["cat", "dog", "owl"], object),
        np.array([-1, 1]),
        np.array([False, True]),
        np.array([3, 7, 8], np.uint8),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([0.0, 1.0, 2.0]),
    ],
    ids=lambda labels: f"{labels.dtype.kind}{labels[-1]}",
)
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=["flat", "column"])
def test_labels_of_any_kind_are_classes_and_can_be_had_back(labels: Array, shape: tuple[int, ...]) -> None:
    """Floats only when it is said that they are."""
    y = labels[rng.integers(0, len(labels), 30)].reshape(shape)
    y[: len(labels)] = labels.reshape(shape)

    made = from_mapping(GOOD | {"y_train": y, "y_test": y[:9]}, "mine", "classification")

    assert made.outputs == len(labels)
    assert sorted(set(made.y_train.tolist())) == list(range(len(labels)))
    assert made.targets.restored(made.y_train).tolist() == y.tolist()


def test_whole_numbers_are_values_where_it_is_said() -> None:
    made = from_mapping(GOOD, "mine", "regression")

    assert (made.targets.task, made.outputs) == ("regression", 1)
    np.testing.assert_allclose(made.targets.restored(made.y_test), GOOD["y_test"], atol=1e-6)


def test_bits_are_values_or_one_bit_where_it_is_said() -> None:
    bits = {"y_train": np.arange(30) % 2, "y_test": np.arange(9) % 2}

    assert from_mapping(GOOD | bits, "mine", "multilabel").y_train.shape == (30, 1)
    assert from_mapping(GOOD | bits, "mine", "regression").targets.deviation is not None


@pytest.mark.parametrize(
    ("y", "task", "said"),
    [
        (np.zeros((30, 2)), "classification", "takes one label a sample"),
        (np.full((30, 2), -100), "classification", "holds the token -100; tokens are numbers from 0 on"),
        (np.arange(30), "multilabel", "takes rows of 0 and 1"),
        (np.array(["a"] * 30), "multilabel", "takes rows of 0 and 1"),
        (np.array(["a"] * 30), "regression", "takes numbers"),
        (np.full(30, np.nan), "classification", "not finite"),
    ],
)
def test_targets_that_are_not_for_the_task_are_refused(y: Array, task: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_mapping(GOOD | {"y_train": y, "y_test": y[:9]}, "mine", task)


@pytest.mark.parametrize(
    ("arrays", "doubt"),
    [
        ({"y_train": np.arange(30) % 4, "y_test": np.zeros(9, int)}, "its 4 classes with only 30 samples"),
        ({"y_train": np.arange(30), "y_test": np.zeros(9, int)}, "--task regression"),
        ({"y_train": np.arange(30), "y_test": np.arange(9) + 28}, "on 30 of its 37 classes with only 30 samples"),
        ({"y_train": np.arange(30) % 3 + 1, "y_test": np.ones(9, int)}, "not 0 to 2"),
        ({"y_test": np.full(9, 3)}, "on 3 of its 4 classes, and is tested on others as well, such as 3"),
        ({"x_train": np.zeros((30, 4), np.uint8), "x_test": np.zeros((9, 4))}, "uint8 to train on and float64 to test with"),
    ],
)
def test_what_looks_wrong_is_said(arrays: dict[str, Array], doubt: str) -> None:
    assert doubt in " ".join(changed(**arrays).doubts)


def test_very_many_whole_numbers_that_are_taken_for_classes_are_told() -> None:
    y, x = np.arange(20_000) % 1_500, np.zeros((20_000, 1))

    made = from_mapping({"x_train": x, "y_train": y, "x_test": x[:1500], "y_test": y[:1500]}, "mine")

    assert "--task regression" in " ".join(made.doubts)


@pytest.mark.parametrize(
    ("values", "is_told"), [([0, 1], True), ([-1, 1], True), (range(20), True), (range(21), False), ([0.5, 1], False)]
)
def test_floats_that_may_be_classes_are_told(values: Any, is_told: bool) -> None:
    y = np.resize(np.array(values, float), 600)
    arrays = {"x_train": np.zeros((600, 1)), "y_train": y, "x_test": np.zeros((600, 1)), "y_test": y}

    made = from_mapping(arrays, "mine")

    assert made.targets.task == "regression"
    assert ("--task classification" in " ".join(made.doubts)) == is_told
    assert from_mapping(arrays, "mine", "regression").doubts == ()


@pytest.mark.parametrize("name", ["x_train", "y_train"])
def test_the_first_row_that_is_not_finite_is_named(name: str) -> None:
    array = GOOD[name].astype(float)
    array[7] = np.nan

    assert "first in row 7" in refusal(**{name: array})


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int8", "int32", "int64", "uint16", "float16", "float32", "float64"])
def test_inputs_keep_their_dtype_and_their_shape(dtype: str) -> None:
    x = (np.arange(30 * 6).reshape(30, 2, 3) % 100).astype(dtype)

    made = changed(x_train=x, x_test=x[:9])

    assert made.x == ArraySpec(dtype, (2, 3), below=100 if dtype in ("int8", "int32", "int64", "uint16") else None)
    assert all(array.dtype == dtype for array in (made.x_train, made.x_test))
    assert made.x_train.tolist() == x.tolist()


def test_numbers_may_come_in_another_order_of_bytes() -> None:
    """As files of other machines have them."""
    made = changed(**{name: array.astype(array.dtype.newbyteorder(">")) for name, array in GOOD.items()})

    assert made.fingerprint == changed().fingerprint
    assert made.x.describes(made.x_train)


def test_every_feature_is_scaled_by_itself_and_a_constant_one_becomes_0() -> None:
    made = changed()
    scaled = (made.x_train - made.mean) / made.deviation

    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 1, 0], atol=1e-5)


def test_images_of_floats_are_scaled_by_channel() -> None:
    x = rng.standard_normal((30, 3, 5, 4)) * [[[2]], [[3]], [[0]]] + 0.1

    made = changed(x_train=x, x_test=x[:9])
    scaled = (made.x_train - made.mean) / made.deviation

    assert made.mean.shape == (3, 1, 1)
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3)), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("task", [None, "classification"])
def test_whole_numbers_with_whole_numbers_at_every_position_are_tokens(task: str | None) -> None:
    """Those that only the inputs hold have a number as well."""
    x, y = rng.integers(0, 7, (30, 5)), rng.integers(0, 4, (30, 5))

    made = from_mapping({"x_train": x, "y_train": y, "x_test": x[:9], "y_test": y[:9]}, "mine", task)

    assert made.targets.are_tokens
    assert (made.outputs, made.x.below, made.y) == (7, 7, ArraySpec("int64", (5,), below=7))
    assert made.y_train.tolist() == made.targets.restored(made.y_train).tolist() == y.tolist()


def test_whole_numbers_that_hardly_come_again_may_be_values_beside_tokens_too() -> None:
    """Said to be values, they are learnt as such."""
    x, y = rng.integers(0, 7, (30, 5)), rng.permutation(150).reshape(30, 5)
    arrays = {"x_train": x, "y_train": y, "x_test": x[:9], "y_test": y[:9]}

    guessed, said, otherwise = (from_mapping(arrays, "mine", task) for task in (None, "classification", "regression"))

    (doubt,) = guessed.doubts
    assert "y is taken for tokens, as x is; if its 150 different whole numbers are values, say task regression" in doubt
    assert said.doubts == otherwise.doubts == ()
    assert not otherwise.targets.are_tokens
    np.testing.assert_allclose(otherwise.targets.restored(otherwise.y_train), y, atol=1e-4)


def test_rows_of_texts_are_classes_at_every_position_where_it_is_said() -> None:
    y = np.array(["noun", "verb", "other"])[rng.integers(0, 3, (30, 4))]

    made = from_mapping(GOOD | {"y_train": y, "y_test": y[:9]}, "mine", "classification")

    assert (made.outputs, made.y_train.shape) == (3, (30, 4))
    assert made.targets.restored(made.y_train).tolist() == y.tolist()


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
        ({"y_train": np.full(30, np.nan), "y_test": np.zeros(9)}, "y_train holds values that are not finite"),
        ({"y_train": np.linspace(0, 1e300, 30), "y_test": np.zeros(9)}, "y holds values that are too large"),
        ({"y_train": np.zeros(30), "y_test": np.full(9, 1e300)}, "y holds values that are too large"),
        ({"x_train": np.zeros(30)}, "x_train must be numbers of shape (samples, features)"),
        ({"x_train": np.zeros((30, 4), complex)}, "x_train must be numbers"),
        ({"x_test": np.full((9, 4), "a")}, "x_test must be numbers"),
        ({"x_train": np.full((30, 4), None)}, "x_train must be numbers"),
        ({"x_train": [[1.0], [2.0, 3.0]]}, "the rows of x_train differ in length"),
        ({"y_train": np.full(30, None)}, "must be numbers or texts"),
        ({"y_train": np.full(30, "cat")}, "both must be numbers, or both texts"),
        ({"y_train": np.array(["cat", 3] * 15, object)}, "y_train must be numbers or texts"),
        ({"y_train": np.array(["cat" * 100] * 30, object)}, "texts of more than 256 letters"),
        ({"y_train": np.zeros((30, 2), "U1"), "y_test": np.zeros((9, 2), "U1")}, "regression takes numbers, and y holds texts"),
        ({"y_train": np.zeros((30, 2, 2))}, "must be numbers or texts"),
        ({"y_train": np.array(3)}, "must be numbers or texts"),
        ({"x_train": np.zeros((0, 4)), "y_train": np.zeros(0, int)}, "x_train is empty"),
        ({"x_train": np.zeros((30, 0), np.uint8)}, "x_train is empty"),
        ({"y_test": np.zeros(0)}, "y_test is empty"),
        ({"y_train": np.zeros((30, 0))}, "y_train is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], said: str) -> None:
    assert said in refusal(**arrays)


@pytest.mark.parametrize("name", ["mnits", "data.csv", ""])
def test_an_unknown_dataset_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        UsageError, match=f"^There is no dataset '{name}'. Choose digits, addition, mnist, cifar10, text:FILE, the path"
    ):
        load(name)
