"""Frames as a stranger could write them."""

from typing import Any

import msgpack

from decoupled.wire.codec import Frame, encode
from decoupled.wire.messages import Kind, Message


def as_sent(message: Message) -> list[Frame]:
    """The frames of a message as plain bytes, the way a socket hands them over; it takes none that lies scattered."""
    frames = [memoryview(frame) for frame in encode(message)]
    assert all(frame.c_contiguous for frame in frames)
    return [frame.tobytes() for frame in frames]


def header(**changes: Any) -> bytes:
    """A good header of a message without arrays, with some of its fields changed."""
    fields: dict[str, Any] = msgpack.unpackb(as_sent(Message(Kind.CREDIT, run="r"))[0])
    packed: bytes = msgpack.packb(fields | changes)
    return packed
