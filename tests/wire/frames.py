"""Frames as a stranger could write them."""

from typing import Any

import msgpack
import numpy as np

from decoupled.wire.codec import Frame, encode
from decoupled.wire.messages import Kind, Message

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
