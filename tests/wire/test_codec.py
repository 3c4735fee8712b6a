"""The codec: what goes in comes out, and nothing that a stranger writes does more than raise WireError."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from decoupled.wire.codec import (
    DTYPES,
    NDIM_MAX,
    decode,
    encode,
)
from decoupled.wire.messages import Array, Kind, Message
from tests.wire.frames import FULL, as_sent

shapes = arrays.array_shapes(min_dims=0, max_dims=NDIM_MAX, min_side=0, max_side=3)
tensors = st.sampled_from(sorted(DTYPES)).flatmap(
    # hypothesis makes no bfloat16; halves of float32 have all of its values
    lambda name: arrays.arrays("float32", shapes).map(as_bfloat16) if name == "bfloat16" else arrays.arrays(name, shapes)
)


def as_bfloat16(tensor: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return tensor.astype("bfloat16")


def returned(tensor: Array) -> Array:
    return decode(as_sent(Message(Kind.ACTIVATION, tensors=(tensor,)))).tensors[0]


def test_every_field_of_a_message_comes_back() -> None:
    came = decode(as_sent(FULL))

    for field in ("kind", "run", "generation", "stage", "microbatch", "weight_version", "cause", "body"):
        assert getattr(came, field) == getattr(FULL, field)
    assert len(came.tensors) == 2


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_message_comes_back(kind: Kind) -> None:
    assert decode(as_sent(Message(kind))).kind is kind


@given(tensors)
def test_arrays_of_every_type_and_shape_come_back(tensor: Array) -> None:
    came = returned(tensor)

    assert came.dtype == tensor.dtype
    assert came.shape == tensor.shape
    assert came.tobytes() == tensor.tobytes()


def test_the_types_that_travel_are_those_of_networks_and_data() -> None:
    whole = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}

    assert DTYPES.keys() == whole | {"float64", "float32", "float16", "bfloat16", "bool"}


@pytest.mark.parametrize("name", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (2, 3), (1,) * NDIM_MAX], ids=str)
def test_values_of_every_type_come_back_by_any_number_of_dimensions(name: str, shape: tuple[int, ...]) -> None:
    tensor = (np.arange(math.prod(shape)) % 2).astype(name).reshape(shape)

    came = returned(tensor)

    assert (came.dtype.name, came.shape) == (name, shape)
    assert came.astype(float).tolist() == tensor.astype(float).tolist()


def test_bfloat16_keeps_what_float32_would_round() -> None:
    came = returned(np.array([1 / 3, -65504, 1e-30, np.inf], "bfloat16"))

    assert came.view(np.uint16).tolist() == np.array([1 / 3, -65504, 1e-30, np.inf], "bfloat16").view(np.uint16).tolist()


@pytest.mark.parametrize(
    "view",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12)[::-2],
        np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, 1:, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(12).astype("bfloat16").reshape(3, 4).T,
    ],
    ids=["transposed", "backwards", "sliced", "fortran", "broadcast", "bfloat16"],
)
def test_arrays_that_lie_scattered_in_memory_come_back_in_order(view: Array) -> None:
    np.testing.assert_array_equal(returned(view), view)


@pytest.mark.parametrize("name", [">f2", ">f4", ">f8", ">i2", ">i4", ">i8", ">u8"])
def test_big_endian_arrays_keep_their_values(name: str) -> None:
    came = returned(np.array([1, 2, 300], name))

    assert came.tolist() == [1, 2, 300]


def test_a_contiguous_array_is_not_copied_on_the_way_out() -> None:
    tensor = np.zeros(3)

    frame = encode(Message(Kind.GRADIENT, tensors=(tensor,)))[1]
    tensor[0] = 5

    assert np.frombuffer(frame)[0] == 5


@given(tensors)
def test_decoded_arrays_are_read_only(tensor: Array) -> None:
    frames = [memoryview(bytearray(memoryview(frame))) for frame in as_sent(Message(Kind.GRADIENT, tensors=(tensor,)))]

    came = decode(frames).tensors[0]

    assert not came.flags.writeable
