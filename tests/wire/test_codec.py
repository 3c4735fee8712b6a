"""The codec: what goes in comes out, and nothing that a stranger writes does more than raise WireError."""

import contextlib
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from decoupled.wire.codec import (
    DTYPES,
    HEADER_BYTES_MAX,
    HEADER_ITEMS_MAX,
    NDIM_MAX,
    TENSORS_MAX,
    Frame,
    WireError,
    decode,
    encode,
)
from decoupled.wire.messages import Array, Kind, Message
from tests.wire.frames import as_sent, header

FULL = Message(
    Kind.ACTIVATION,
    run="run-7",
    generation=2,
    stage=1,
    microbatch=42,
    weight_version=17,
    cause="Forward(42)",
    body={"training": True, "counts": [1, 2], "name": "ü", "rate": 0.5, "none": None},
    tensors=(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2, 3])),
)

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


def test_booleans_that_are_neither_true_nor_false_are_refused() -> None:
    """numpy would count some of them twice."""
    assert decode([header(tensors=[["bool", [2]]]), b"\0\1"]).tensors[0].tolist() == [False, True]
    with pytest.raises(WireError, match="booleans"):
        decode([header(tensors=[["bool", [2]]]), b"\0\2"])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_arrays_without_elements_or_dimensions_keep_their_shape(shape: tuple[int, ...]) -> None:
    assert returned(np.ones(shape)).shape == shape


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


@pytest.mark.parametrize(
    "tensor",
    [np.array([None]), np.array(["a"]), np.zeros(2, complex), np.zeros(2, "M8[s]"), np.zeros(2, "f4,i4"), np.zeros(2, "V2")],
    ids=["object", "text", "complex", "date", "record", "bytes"],
)
def test_other_arrays_do_not_leave(tensor: Array) -> None:
    with pytest.raises(WireError, match=r"an array of .*; only float64"):
        encode(Message(Kind.ACTIVATION, tensors=(tensor,)))


@given(st.lists(st.binary(max_size=64), max_size=4))
def test_random_bytes_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(frames)


def survives(frames: list[Frame]) -> None:
    """Decoding gives a message or a WireError, and no other error."""
    with contextlib.suppress(WireError):
        assert isinstance(decode(frames), Message)


@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 2))
def test_a_changed_byte_gives_a_message_or_a_wire_error(at: int, flip: int, which: int) -> None:
    frames = as_sent(FULL)
    changed = bytearray(frames[which])
    changed[at % len(changed)] ^= flip
    frames[which] = bytes(changed)

    survives(frames)


@given(st.integers(0, 2), st.integers(1, 300))
def test_truncated_frames_are_refused(which: int, lost: int) -> None:
    frames = as_sent(FULL)
    frames[which] = frames[which][: max(0, len(frames[which]) - lost)]

    with pytest.raises(WireError):
        decode(frames)


@given(st.integers(0, 2), st.binary(min_size=1, max_size=20))
def test_extended_frames_are_refused(which: int, more: bytes) -> None:
    frames = as_sent(FULL)
    frames[which] = bytes(frames[which]) + more

    with pytest.raises(WireError):
        decode(frames)


@pytest.mark.parametrize(
    "change",
    [lambda frames: [], lambda frames: frames[:-1], lambda frames: [*frames, b""], lambda frames: frames[1:]],
    ids=["none", "one too few", "one too many", "no header"],
)
def test_a_wrong_number_of_frames_is_refused(change: Callable[[list[Frame]], list[Frame]]) -> None:
    with pytest.raises(WireError):
        decode(change(as_sent(FULL)))


plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["type", "version", "run", "generation", "microbatch", "body", "tensors"]), plain)
def test_any_value_in_any_field_gives_a_message_or_a_wire_error(field: str, value: Any) -> None:
    survives([header(**{field: value})])
    survives([header(**{field: value}), b""])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "exec"),
        ("type", 3),
        ("version", 2),
        ("version", True),
        ("run", b"r"),
        ("generation", "0"),
        ("stage", 1.0),
        ("stage", False),
        ("microbatch", None),
        ("microbatch", 2**63),
        ("stage", -(2**63)),
        ("weight_version", [0]),
        ("cause", 0),
        ("body", []),
        ("tensors", {}),
        ("more", 1),
    ],
)
def test_a_field_with_the_wrong_content_is_refused(field: str, value: object) -> None:
    with pytest.raises(WireError):
        decode([header(**{field: value})])


@pytest.mark.parametrize("field", ["type", "version", "run", "body", "tensors"])
def test_a_missing_field_is_refused(field: str) -> None:
    fields = msgpack.unpackb(header())
    del fields[field]

    with pytest.raises(WireError, match="without the fields"):
        decode([msgpack.packb(fields)])


@pytest.mark.parametrize(
    "announced",
    [
        ["float32", [-1]],
        ["float32", [-2, -2]],
        ["float32", [True]],
        ["float32", [1.0]],
        ["float32", ["1"]],
        ["float32", [2**40]],
        ["float32", [1] * 9],
        ["float32", 1],
        ["float32"],
        ["float32", [1], 0],
        ["object", [1]],
        ["O", [1]],
        ["float8_e4m3fn", [4]],
        ["V2", [2]],
        [">f4", [1]],
        [4, [1]],
        "float32",
        None,
    ],
    ids=repr,
)
def test_an_announced_array_that_cannot_be_is_refused(announced: object) -> None:
    with pytest.raises(WireError, match="unknown type or shape"):
        decode([header(tensors=[announced]), bytes(4)])


@pytest.mark.parametrize("shape", [[2**30] * 8, [2**30], [0] + [2**30] * 7, [1, 2]], ids=repr)
def test_a_shape_that_does_not_fit_its_frame_is_refused(shape: list[int]) -> None:
    with pytest.raises(WireError):
        decode([header(tensors=[["float32", shape]]), b""])


def most_bytes_while(refused: list[Frame]) -> int:
    """The most memory in use at any moment while these frames are refused."""
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode(refused)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_huge_shape_is_refused_without_room_made_for_it() -> None:
    assert most_bytes_while([header(tensors=[["float64", [2**30, 2**30]]]), bytes(8)]) < 1_000_000


def test_huge_lists_within_lists_are_refused_without_room_made_for_them() -> None:
    """Each announces a million items, five bytes each; the padding lets them seem possible."""
    lists = b"\xdd\x00\x0f\xff\x00" * 1000

    assert most_bytes_while([lists.ljust(HEADER_BYTES_MAX, b"\x00")]) < 100_000_000


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01"], ids=["lists", "maps", "long lists"])
def test_deep_nesting_is_refused(opening: bytes) -> None:
    with pytest.raises(WireError, match="not msgpack"):
        decode([opening * 100_000 + b"\xc0"])


def test_a_body_of_extension_types_is_refused() -> None:
    with pytest.raises(WireError, match="not msgpack"):
        decode([header(body={"when": msgpack.Timestamp(1)})])


def test_headers_and_messages_beyond_their_limits_are_refused() -> None:
    with pytest.raises(WireError, match="a header of more than"):
        decode([header(cause="x" * HEADER_BYTES_MAX)])
    with pytest.raises(WireError, match="not msgpack"):
        decode([header(body={"list": [0] * (HEADER_ITEMS_MAX + 1)})])
    with pytest.raises(WireError, match=f"at most {TENSORS_MAX}"):
        decode([header(tensors=[["uint8", [0]]] * (TENSORS_MAX + 1)), *[b""] * (TENSORS_MAX + 1)])


def test_a_message_of_exactly_bytes_max_passes_and_one_more_byte_does_not() -> None:
    frames = as_sent(FULL)
    size = sum(len(frame) for frame in frames)

    assert decode(frames, bytes_max=size).microbatch == 42
    with pytest.raises(WireError, match=f"more than {size - 1} bytes"):
        decode(frames, bytes_max=size - 1)
