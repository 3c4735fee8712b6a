"""Chunks: named arrays of any size as messages of bounded size, and back. A state, a snapshot and a result travel so."""

import math
from operator import index
from typing import Any

import numpy as np

from decoupled.nn.parameters import Array
from decoupled.wire.codec import MESSAGE_BYTES_MAX
from decoupled.wire.messages import Kind, Message

CHUNK_BYTES_MAX = 1 << 24
HEADER_BYTES = 1 << 15  # that a chunk's header may take: a name, a shape and what is to be known about the whole
OVERHEAD_BYTES = 256  # that the receiver spends on a chunk, beside its array and its name


def into_chunks(
    kind: Kind,
    arrays: dict[str, Array],
    about: dict[str, Any],
    microbatch: int = -1,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> list[Message]:
    """The messages that carry the arrays, none larger than `message_bytes_max`; the last has what is to be known about them."""
    size = min(CHUNK_BYTES_MAX, message_bytes_max - HEADER_BYTES)
    cut = [(name, array.shape, piece) for name, array in arrays.items() for piece in _pieces(array, size)]
    total = sum(_cost(name, piece) for name, _, piece in cut)
    return [
        Message(
            kind,
            microbatch=microbatch,
            body={
                "name": name,
                "shape": list(shape),
                "begins": left == len(cut) - 1,
                "left": left,
                "bytes": total,
                "about": about if left == 0 else {},
            },
            tensors=(piece,),
        )
        for left, (name, shape, piece) in zip(reversed(range(len(cut))), cut, strict=True)
    ]


def _pieces(array: Array, size: int) -> list[Array]:
    """The array's numbers in pieces of at most `size` bytes; an empty array is one piece."""
    flat, items = np.ravel(array), max(size // array.itemsize, 1)
    return [flat[start : start + items] for start in range(0, max(array.size, 1), items)]


def _cost(name: str, piece: Array) -> int:
    return piece.nbytes + len(name) + OVERHEAD_BYTES


def announced_bytes(message: Message) -> int:
    """How much memory its sender says that the whole takes. Raises KeyError or TypeError when the message is no chunk."""
    return index(message.body["bytes"])


class Chunks:
    """Puts the chunks of one set of arrays together as they come, in order.

    The rest of a set that began before is passed over, a set that begins anew takes the place of a part of one, and what
    comes after a whole one changes nothing. It never holds more than the first chunk announced.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.about: dict[str, Any] = {}
        self.is_whole = False
        self._room: int | None = None  # bytes that may still come; None before the first chunk
        self._pieces: list[Array] = []  # of the array that is under way
        self._items = 0  # in them

    def add(self, message: Message) -> None:
        """Takes in the next chunk. Raises TypeError or ValueError when it is none, or does not fit those before."""
        (piece,) = message.tensors
        match message.body:
            case {"name": str(name), "shape": [*shape], "begins": bool(begins), "left": int(left), "about": dict(about)}:
                whole_shape = tuple(map(index, shape))
            case _:
                raise ValueError("no chunk of arrays")
        if self.is_whole:
            return
        if begins:
            self.arrays, self._pieces, self._items, self._room = {}, [], 0, announced_bytes(message)
        if self._room is None:
            return
        self._take(name, whole_shape, piece)
        if left == 0 and self._pieces:
            raise ValueError(f"{self._items} of the numbers of {name:.40} that has the shape {whole_shape}")
        if left == 0:
            self.about, self.is_whole = about, True

    def _take(self, name: str, shape: tuple[int, ...], piece: Array) -> None:
        """Puts a piece to those of its array, and the array to the others when it is the last one."""
        if piece.ndim != 1 or (self._pieces and piece.dtype != self._pieces[0].dtype):
            raise ValueError(f"a piece of {name:.40} that is {piece.dtype} of {piece.ndim} dimensions")
        assert self._room is not None
        self._room -= _cost(name, piece)
        if self._room < 0:
            raise ValueError(f"more than was announced, with {name:.40}")
        self._pieces.append(piece)
        self._items += len(piece)
        size = math.prod(shape)
        if self._items > size:
            raise ValueError(f"{self._items} of the {size} numbers of {name:.40}")
        if self._items == size:
            whole = piece if len(self._pieces) == 1 else np.concatenate(self._pieces)
            self.arrays[name] = whole.reshape(shape)
            self._pieces, self._items = [], 0
