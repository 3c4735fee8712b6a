"""Chunks: arrays of any size travel in pieces of bounded size, and come back whole or not at all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decoupled.nn.parameters import Array
from decoupled.runtime import chunks
from decoupled.runtime.chunks import Chunks, announced_bytes, into_chunks
from decoupled.wire.codec import decode, encode
from decoupled.wire.messages import Kind, Message

ARRAYS: dict[str, Array] = {
    "large": np.arange(50.0).reshape(5, 10),
    "number": np.array(7.5),
    "nothing": np.zeros((0, 2), np.int64),
    "an even part": np.arange(16, dtype=np.float32),
    "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "bytes": np.arange(70, dtype=np.uint8),
}
ABOUT = {"counters": {"samples": 3}}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES_MAX", 64)


def opened(pieces: list[Message], into: Chunks | None = None) -> Chunks:
    """The set of arrays after these pieces, each of which went over the wire."""
    made = into or Chunks()
    for piece in pieces:
        made.add(decode([memoryview(frame).tobytes() for frame in encode(piece)]))
    return made


def is_whole(found: Chunks, arrays: dict[str, Array]) -> bool:
    """Whether a set of arrays has come with these arrays and no others."""
    return (
        found.is_whole
        and found.arrays.keys() == arrays.keys()
        and all(found.arrays[name].dtype == arrays[name].dtype for name in arrays)
        and all(np.array_equal(found.arrays[name], arrays[name]) for name in arrays)
    )


def test_arrays_come_back_as_they_were_with_what_is_to_be_known() -> None:
    found = opened(into_chunks(Kind.STATE, ARRAYS, ABOUT))

    assert is_whole(found, ARRAYS)
    assert found.about == ABOUT


def test_no_piece_is_larger_than_allowed_and_each_says_what_it_belongs_to() -> None:
    pieces = into_chunks(Kind.SNAPSHOT, ARRAYS, ABOUT, microbatch=40)

    assert max(tensor.nbytes for piece in pieces for tensor in piece.tensors) == 64
    assert len(pieces) == 7 + 1 + 1 + 1 + 1 + 2
    assert {(piece.kind, piece.microbatch) for piece in pieces} == {(Kind.SNAPSHOT, 40)}


def test_it_is_whole_with_the_last_piece_and_not_before() -> None:
    pieces, found = into_chunks(Kind.STATE, ARRAYS, ABOUT), Chunks()

    before = [opened([piece], found).is_whole for piece in pieces[:-1]]
    opened(pieces[-1:], found)

    assert not any(before)
    assert found.is_whole


@pytest.mark.parametrize("arrays", [{"one": np.ones(1)}, {"nothing": np.zeros((0, 2))}], ids=["one number", "no number"])
def test_one_piece_is_a_set_if_that_is_all(arrays: dict[str, Array]) -> None:
    pieces = into_chunks(Kind.RESULT, arrays, {})

    assert len(pieces) == 1
    assert is_whole(opened(pieces), arrays)


@pytest.mark.parametrize("came", range(1, 13))
def test_the_rest_of_a_set_that_began_before_is_passed_over(came: int) -> None:
    """Or a snapshot that was given up on the way would leave its end in the one after it."""
    before, pieces = into_chunks(Kind.SNAPSHOT, ARRAYS, {"from": "before"}), into_chunks(Kind.SNAPSHOT, ARRAYS, ABOUT)

    found = opened(before[came:])
    is_whole_too_soon = found.is_whole
    opened(pieces, found)

    assert not is_whole_too_soon
    assert is_whole(found, ARRAYS)
    assert found.about == ABOUT


@pytest.mark.parametrize("came", range(1, 13))
def test_a_set_that_begins_anew_takes_the_place_of_a_part_of_one(came: int) -> None:
    other = {"large": np.zeros((5, 10))}

    found = opened(into_chunks(Kind.SNAPSHOT, ARRAYS, {})[:came])
    opened(into_chunks(Kind.SNAPSHOT, other, ABOUT), found)

    assert is_whole(found, other)


@pytest.mark.parametrize(
    "message",
    [
        Message(Kind.STATE, body={}, tensors=(np.ones(1),)),
        Message(Kind.STATE, body={"name": "a", "shape": [1], "begins": True}, tensors=(np.ones(1),)),
        Message(Kind.STATE, body={"shape": [1], "begins": True, "left": 0, "bytes": 999, "about": {}}, tensors=(np.ones(1),)),
        Message(Kind.STATE, body={"name": "a", "shape": [1], "begins": True, "left": 0, "about": {}}, tensors=(np.ones(1),)),
    ],
    ids=["empty", "no place", "no name", "no size"],
)
def test_what_is_no_piece_is_told_apart(message: Message) -> None:
    found: Any = Chunks()

    with pytest.raises((KeyError, ValueError)):
        found.add(message)
    assert not found.is_whole


def size(message: Message) -> int:
    return sum(memoryview(frame).nbytes for frame in encode(message))


@pytest.mark.parametrize("allowed", [1 << 16, 100_000, 1 << 20])
def test_no_message_is_larger_than_the_links_allow(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES_MAX", 1 << 24)
    arrays = {"weights": np.arange(700_001.0), "w" * 500: np.ones((3, 70_000), "bfloat16"), "one": np.array(1)}

    pieces = into_chunks(Kind.STATE, arrays, ABOUT, message_bytes_max=allowed)

    assert max(map(size, pieces)) <= allowed
    assert sum(map(size, pieces)) < 1.5 * sum(array.nbytes for array in arrays.values()), "and none is needlessly small"
    assert is_whole(opened(pieces), arrays)


def test_more_than_was_announced_is_never_kept() -> None:
    """Neither one array that does not end, nor arrays without end, nor names without numbers."""
    (first, *_), endless = into_chunks(Kind.STATE, ARRAYS, {}), dict(ARRAYS)
    for number in range(100):
        endless[f"more {number}"] = np.zeros(0)
    many = into_chunks(Kind.STATE, endless, {})
    many[0] = replace(many[0], body=many[0].body | {"bytes": first.body["bytes"]})
    found = Chunks()

    with pytest.raises(ValueError, match="more than was announced"):
        opened(many, found)

    assert not found.is_whole
    assert announced_bytes(first) >= sum(array.nbytes for array in ARRAYS.values())


def test_pieces_of_one_array_are_of_one_type() -> None:
    pieces = into_chunks(Kind.STATE, ARRAYS, {})
    other = replace(pieces[1], tensors=(pieces[1].tensors[0].astype(np.float32),))

    with pytest.raises(ValueError, match="large"):
        opened([pieces[0], other])


def test_what_comes_after_a_whole_set_changes_nothing() -> None:
    found = opened(into_chunks(Kind.RESULT, ARRAYS, ABOUT))

    opened(into_chunks(Kind.RESULT, {"other": np.ones(2)}, {})[:1], found)

    assert is_whole(found, ARRAYS)
    assert found.about == ABOUT
