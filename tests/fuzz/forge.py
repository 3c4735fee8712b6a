"""The forge: hostile messages out of any bytes, always the same ones for the same bytes, so that a fuzzer can steer it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from decoupled.wire.codec import DTYPES
from decoupled.wire.messages import Array, Kind, Message

T = TypeVar("T")

LEAVES: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 63, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63),
    0.5, -1.0, 1e308, float("nan"), float("inf"), "", "layer0.weight", "tcp://", "memory://0", "trained", "\0", b"", b"\xff",
)  # fmt: skip
KEYS = ("link", "count", "room", "reason", "address", "name", "shape", "left", "about", "counters", "at_ns", "samples", "")
NUMBERS = ("generation", "stage", "microbatch", "weight_version")


class Choices:
    """Decisions read from bytes; when those are used up, always the first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def below(self, count: int) -> int:
        return int.from_bytes(self.take(1 if count <= 256 else 2), "little") % count

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    @property
    def are_left(self) -> bool:
        return self._at < len(self._data)


def value(choices: Choices, depth: int = 0) -> Any:
    """Anything that a body can hold."""
    match choices.below(8 if depth < 3 else 6):
        case 6:
            return [value(choices, depth + 1) for _ in range(choices.below(4))]
        case 7:
            return {choices.pick(KEYS): value(choices, depth + 1) for _ in range(choices.below(4))}
        case _:
            return choices.pick(LEAVES)


def array(choices: Choices) -> Array:
    """An array of any type and of a shape that may nearly fit."""
    shape = tuple(choices.pick((1, 0, 2, 3, 4, 6, 10)) for _ in range(choices.below(4)))
    filled = np.full(shape, choices.pick((0.0, 1.0, 250.0)))
    return filled.astype(choices.pick(sorted(DTYPES)))


def warped(choices: Choices, message: Message) -> Message:
    """The message with one to four things about it changed."""
    for _ in range(1 + choices.below(4)):
        match choices.below(8):
            case 0:
                message = replace(message, kind=choices.pick(tuple(Kind)))
            case 1:
                changes: dict[str, Any] = {choices.pick(NUMBERS): choices.pick([n for n in LEAVES if type(n) is int])}
                message = replace(message, **changes)
            case 2 | 3:
                message = replace(message, tensors=_other_tensors(choices, message.tensors))
            case _:
                body = _other_value(choices, message.body)
                message = replace(message, body=body if isinstance(body, dict) else {})
    return message


def _other_value(choices: Choices, given: Any, depth: int = 0) -> Any:
    """The same with one place in it changed, added or taken away."""
    if not isinstance(given, dict | list) or not given or choices.below(8) == 7:
        return value(choices, depth)
    inner = dict(given) if isinstance(given, dict) else dict(enumerate(given))
    key = choices.pick(list(inner))
    match choices.below(4):
        case 0:
            del inner[key]
        case 1:
            inner[choices.pick(KEYS) if isinstance(given, dict) else len(inner)] = value(choices, depth)
        case _:
            inner[key] = _other_value(choices, inner[key], depth + 1)
    return inner if isinstance(given, dict) else list(inner.values())


def _other_tensors(choices: Choices, given: tuple[Array, ...]) -> tuple[Array, ...]:
    if not given or choices.below(5) == 0:
        return (*given, array(choices))
    at = choices.below(len(given))
    before, one, after = given[:at], given[at], given[at + 1 :]
    match choices.below(6):
        case 0:
            return (*before, *after)
        case 1:
            return (*before, one.astype(choices.pick(sorted(DTYPES))), *after)
        case 2:
            return (*before, one[: choices.below(len(one) + 1)] if one.ndim else one, *after)
        case 3:
            return (*before, one.reshape(-1), *after)
        case 4:
            extreme = choices.pick((-1, 2**31 - 1, 255)) if one.dtype.kind in "iu" else choices.pick((np.nan, np.inf, -1e38))
            return (*before, np.full(one.shape, extreme).astype(one.dtype), *after)
        case _:
            return (*before, array(choices), *after)
