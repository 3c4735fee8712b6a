"""Frames that no side of a run sends: whatever a stranger writes raises WireError and nothing else, before memory is taken."""

import contextlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.wire.codec import (
    HEADER_BYTES_MAX,
    HEADER_ITEMS_MAX,
    TENSORS_MAX,
    Frame,
    WireError,
    decode,
    encode,
)
from decoupled.wire.messages import Array, Kind, Message
from tests.wire.frames import FULL, as_sent, header


def test_booleans_that_are_neither_true_nor_false_are_refused() -> None:
    """numpy would count some of them twice."""
    assert decode([header(tensors=[["bool", [2]]]), b"\0\1"]).tensors[0].tolist() == [False, True]
    with pytest.raises(WireError, match="booleans"):
        decode([header(tensors=[["bool", [2]]]), b"\0\2"])


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
