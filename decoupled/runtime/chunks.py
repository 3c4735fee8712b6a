"""Parcels: named arrays of any size as messages of bounded size, and back. A state, a snapshot and a result travel so."""

import math
from operator import index
from typing import Any

import numpy as np

from decoupled.nn.parameters import Array
from decoupled.wire.messages import Kind, Message

PIECE_BYTES = 1 << 24


def into_chunks(kind: Kind, arrays: dict[str, Array], about: dict[str, Any], microbatch: int = -1) -> list[Message]:
    """The messages that carry the arrays; the last has what is to be known about them."""
    cut = [(name, array, start) for name, array in arrays.items() for start in range(0, max(array.size, 1), _items(array))]
    return [
        Message(
            kind,
            microbatch=microbatch,
            body={
                "name": name,
                "shape": list(array.shape),
                "begins": left == len(cut) - 1,
                "left": left,
                "about": about if left == 0 else {},
            },
            tensors=(np.ravel(array)[start : start + _items(array)],),
        )
        for left, (name, array, start) in zip(reversed(range(len(cut))), cut, strict=True)
    ]


def _items(array: Array) -> int:
    return PIECE_BYTES // array.itemsize


class Chunks:
    """Puts the pieces of one parcel together as they come, in order.

    The rest of a parcel that began before is passed over, and a parcel that begins anew takes the place of a part of one.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.about: dict[str, Any] = {}
        self.is_whole = self._has_begun = False
        self._pieces: list[Array] = []

    def add(self, message: Message) -> None:
        """Takes in the next piece. Raises TypeError or ValueError when it is none."""
        (piece,) = message.tensors
        match message.body:
            case {"name": str(name), "shape": [*shape], "begins": bool(begins), "left": int(left), "about": dict(about)}:
                size = math.prod(map(index, shape))
            case _:
                raise ValueError("no piece of a parcel")
        if begins:
            self.arrays, self._pieces, self._has_begun = {}, [], True
        if not self._has_begun:
            return
        if piece.ndim != 1:
            raise ValueError(f"a piece of {name:.40} of {piece.ndim} dimensions")
        self._pieces.append(piece)
        here = sum(len(part) for part in self._pieces)
        if here > size or (here < size and left == 0):
            raise ValueError(f"{here} of the {size} numbers of {name:.40}")
        if here == size:
            whole = piece if len(self._pieces) == 1 else np.concatenate(self._pieces)
            self.arrays[name] = whole.reshape(shape)
            self._pieces = []
        if left == 0:
            self.about, self.is_whole = about, True
