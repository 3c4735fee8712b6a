"""What flows between stages is checked where it arrives, and both ends of a link can tell whether they agree."""

from typing import Any

import numpy as np
import pytest

from decoupled.tensors import ArraySpec, Tensors, TensorSpec

SEQUENCES = TensorSpec((ArraySpec("float32", (None, 8)), ArraySpec("bool", (None,)), ArraySpec("int64", (), below=10)))


def sequences(rows: int = 3, length: int = 5) -> Tensors:
    return np.zeros((rows, length, 8), np.float32), np.ones((rows, length), bool), np.arange(rows)


def test_a_microbatch_of_several_arrays_of_any_length_fits() -> None:
    for length in (1, 5, 70):
        SEQUENCES.check(sequences(length=length))


@pytest.mark.parametrize(
    "tensors",
    [
        (),
        sequences()[:2],
        (*sequences(), np.zeros(3)),
        (sequences()[0].astype(np.float64), *sequences()[1:]),
        (sequences()[0][..., :7], *sequences()[1:]),
        (sequences()[0][:, 0], *sequences()[1:]),
        (*sequences()[:2], np.array([0, 1, 10])),
        (*sequences()[:2], np.array([0, 1, -1])),
        (*sequences()[:2], np.zeros(2, np.int64)),
        sequences(rows=0),
    ],
    ids=["none", "too few", "too many", "type", "length", "dimensions", "too great", "negative", "rows", "empty"],
)
def test_what_is_no_microbatch_is_refused(tensors: Tensors) -> None:
    with pytest.raises(ValueError, match="where float32 N x any x 8 and bool N x any and int64 N below 10 was to come"):
        SEQUENCES.check(tensors)


def test_only_floats_have_gradients() -> None:
    assert SEQUENCES.gradients == TensorSpec((ArraySpec("float32", (None, 8)),))
    assert [array.shape for array in SEQUENCES.differentiable(sequences())] == [(3, 5, 8)]
    assert TensorSpec.of("bfloat16", 4).gradients == TensorSpec.of("bfloat16", 4)
    assert not len(TensorSpec.of("int64", None).gradients)


@pytest.mark.parametrize("length", [1, 6])
def test_zeros_are_a_microbatch(length: int) -> None:
    zeros = SEQUENCES.zeros(2, length)

    SEQUENCES.check(zeros)
    assert SEQUENCES.length_in(zeros) == length


def test_a_specification_travels() -> None:
    assert TensorSpec.from_body(SEQUENCES.to_body()) == SEQUENCES


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [1],
        [{}],
        [{"dtype": 3, "shape": [], "below": None}],
        [{"dtype": "int8", "shape": 3, "below": None}],
        [{"dtype": "int8", "shape": ["a"], "below": None}],
        [{"dtype": "int8", "shape": [-1], "below": None}],
        [{"dtype": "int8", "shape": [1] * 8, "below": None}],
        [{"dtype": "int8", "shape": [], "below": True}],
        [{"dtype": "int8", "shape": [], "below": None}] * 65,
    ],
)
def test_a_malformed_description_is_refused(body: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        TensorSpec.from_body(body)


@pytest.mark.parametrize(
    ("taken", "given", "fits"),
    [
        (TensorSpec.of("float32", 8), TensorSpec.of("float32", 8), True),
        (TensorSpec.of("float32", None), TensorSpec.of("float32", 8), True),
        (TensorSpec.of("float32", 8), TensorSpec.of("float32", None), False),
        (TensorSpec.of("float32", 8), TensorSpec.of("float64", 8), False),
        (TensorSpec.of("float32", 8), TensorSpec.of("float32", 8, 1), False),
        (TensorSpec.of("int64", below=10), TensorSpec.of("int64", below=9), True),
        (TensorSpec.of("int64", below=10), TensorSpec.of("int64", below=11), False),
        (TensorSpec.of("int64", below=10), TensorSpec.of("int64"), False),
        (TensorSpec.of("float32", 8), TensorSpec.of("float32", 8) + TensorSpec.of("float32", 8), False),
    ],
    ids=str,
)
def test_a_link_fits_where_all_that_is_given_can_be_taken(taken: TensorSpec, given: TensorSpec, fits: bool) -> None:
    assert taken.accepts(given) is fits
