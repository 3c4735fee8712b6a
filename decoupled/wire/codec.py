"""The codec: a message to frames, and frames to a message or a WireError.

Frame 0 is a msgpack header; frames 1 to n are the raw arrays, C-contiguous and little-endian. Everything a stranger may
have written is checked before anything of its size is allocated.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes  # noqa: F401 (numpy knows bfloat16 by it)
import msgpack
import numpy as np

from decoupled.errors import DecoupledError
from decoupled.wire.messages import Array, Kind, Message

VERSION = 1
HEADER_BYTES_MAX = 1 << 20
HEADER_ITEMS_MAX = 4096  # in any one list or map of a header; msgpack makes room for as many as a list announces
MESSAGE_BYTES_MAX = 1 << 28
TENSORS_MAX = 1024
NDIM_MAX = 8
NUMBER_MAX = 2**63 - 1  # microbatches stand in arrays of int64
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("float64", "float32", "float16", "bfloat16"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"),
    )
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}  # a dtype takes long to tell its name

Frame: TypeAlias = bytes | memoryview

_FIELDS = {
    "type": str,
    "version": int,
    "run": str,
    "generation": int,
    "stage": int,
    "microbatch": int,
    "weight_version": int,
    "cause": str,
}


class WireError(DecoupledError):
    """Frames that are not a message of this protocol and version."""


def encode(message: Message) -> list[Frame]:
    """The frames of a message. The arrays are passed on as they are, without a copy where they are contiguous."""
    if len(message.tensors) > TENSORS_MAX:
        raise WireError(f"a message of {len(message.tensors)} arrays; at most {TENSORS_MAX} travel together.")
    arrays = [np.asarray(tensor, tensor.dtype.newbyteorder("<"), order="C") for tensor in message.tensors]
    header = {
        "type": message.kind.value,
        "version": VERSION,
        "run": message.run,
        "generation": message.generation,
        "stage": message.stage,
        "microbatch": message.microbatch,
        "weight_version": message.weight_version,
        "cause": message.cause,
        "body": message.body,
        "tensors": [[_name(array), list(array.shape)] for array in arrays],
    }
    return [msgpack.packb(header), *map(_bytes_of, arrays)]


def decode(frames: Sequence[Frame], bytes_max: int = MESSAGE_BYTES_MAX) -> Message:
    """The message in these frames; its arrays are read-only views of them. Raises WireError for anything else."""
    if not frames:
        raise WireError("a message without frames.")
    if sum(memoryview(frame).nbytes for frame in frames) > bytes_max:
        raise WireError(f"a message of more than {bytes_max} bytes.")
    header = _header(frames[0])
    shapes = _shapes(header["tensors"])
    if len(shapes) != len(frames) - 1:
        raise WireError(f"a header that announces {len(shapes)} arrays, with {len(frames) - 1} frames.")
    return Message(
        kind=_kind(header["type"]),
        run=header["run"],
        generation=header["generation"],
        stage=header["stage"],
        microbatch=header["microbatch"],
        weight_version=header["weight_version"],
        cause=header["cause"],
        body=header["body"],
        tensors=tuple(_tensor(frame, *shape) for frame, shape in zip(frames[1:], shapes, strict=True)),
    )


def _bytes_of(array: Array) -> memoryview:
    """The memory of a contiguous array; by way of bytes, since Python's buffers know no bfloat16."""
    return array.reshape(-1).view(np.uint8).data


def _name(array: Array) -> str:
    name = _NAMES.get(array.dtype)
    if name is None:
        raise WireError(f"an array of {array.dtype}; only {', '.join(DTYPES)} travel.")
    return name


def _header(frame: Frame) -> dict[str, Any]:
    if memoryview(frame).nbytes > HEADER_BYTES_MAX:
        raise WireError(f"a header of more than {HEADER_BYTES_MAX} bytes.")
    try:
        header = msgpack.unpackb(
            frame,
            max_str_len=HEADER_BYTES_MAX,
            max_bin_len=HEADER_BYTES_MAX,
            max_array_len=HEADER_ITEMS_MAX,
            max_map_len=HEADER_ITEMS_MAX,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"a header that is not msgpack: {type(error).__name__}.") from None
    if not isinstance(header, dict) or header.keys() != {*_FIELDS, "body", "tensors"}:
        raise WireError("a header without the fields of this protocol.")
    for name, kind in _FIELDS.items():
        if type(header[name]) is not kind:
            raise WireError(f"a header whose {name} is not {kind.__name__}.")
        if kind is int and abs(header[name]) > NUMBER_MAX:
            raise WireError(f"a header whose {name} is beyond what an array holds.")
    if header["version"] != VERSION:
        raise WireError(f"a message of protocol version {header['version']}; this is version {VERSION}.")
    if not isinstance(header["body"], dict):
        raise WireError("a header whose body is not a map.")
    return header


def _kind(name: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        raise WireError(f"a message of unknown type {name[:40]!r}.") from None


def _shapes(announced: Any) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
    if not isinstance(announced, list) or len(announced) > TENSORS_MAX:
        raise WireError(f"a header whose tensors are not a list of at most {TENSORS_MAX}.")
    shapes = []
    for entry in announced:
        match entry:
            case [str(name), list(shape)] if name in DTYPES and len(shape) <= NDIM_MAX and all(_is_size(n) for n in shape):
                shapes.append((DTYPES[name], tuple(shape)))
            case _:
                raise WireError("a header that announces an array of an unknown type or shape.")
    return shapes


def _is_size(n: Any) -> bool:
    return type(n) is int and 0 <= n <= MESSAGE_BYTES_MAX


def _tensor(frame: Frame, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if memoryview(frame).nbytes != math.prod(shape) * dtype.itemsize:
        raise WireError(f"an array frame of {memoryview(frame).nbytes} bytes announced as {dtype} {shape}.")
    if dtype.kind == "b" and np.frombuffer(frame, np.uint8).max(initial=0) > 1:
        raise WireError("an array frame of booleans that are neither 0 nor 1.")
    try:
        array = np.frombuffer(frame, dtype).reshape(shape)
    except ValueError:  # no elements, and other sizes beyond what numpy can count
        raise WireError(f"an array frame announced with the impossible shape {shape}.") from None
    array.flags.writeable = False  # a view of a received frame can come back writeable
    return array
