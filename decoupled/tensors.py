"""Tensors: what flows between stages, and the specification that both ends of a link agree on.

What flows is a tuple of arrays with as many rows, one row for each sample. A specification gives each array a dtype and a
shape per sample, in which a length may vary. It is checked when arrays arrive: compiled code would not notice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import ml_dtypes  # noqa: F401 (numpy knows bfloat16 by it)
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = tuple[Array, ...]
T = TypeVar("T")

FLOATS = ("float32", "float64", "float16", "bfloat16")  # only these have gradients
NDIM_MAX = 8  # with the samples' dimension; as in the codec
ARRAYS_MAX = 64  # in one specification


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array: its dtype, and the shape of a sample. None stands for a length that varies from microbatch to microbatch.

    With `below`, the values are whole numbers from 0 to `below` - 1, such as classes or tokens.
    """

    dtype: str
    shape: tuple[int | None, ...]
    below: int | None = None

    @property
    def has_gradient(self) -> bool:
        return self.dtype in FLOATS

    def describes(self, array: Array) -> bool:
        """Whether the array can be a microbatch of these samples."""
        if array.dtype != self.dtype or array.ndim != len(self.shape) + 1 or not len(array):
            return False
        if any(wanted not in (None, length) for wanted, length in zip(self.shape, array.shape[1:], strict=True)):
            return False
        return self.below is None or not array.size or bool(array.min() >= 0 and array.max() < self.below)

    def accepts(self, other: "ArraySpec") -> bool:
        """Whether everything that the other describes can be taken here."""
        return (
            self.dtype == other.dtype
            and len(self.shape) == len(other.shape)
            and all(mine in (None, theirs) for mine, theirs in zip(self.shape, other.shape, strict=True))
            and (self.below is None or (other.below is not None and other.below <= self.below))
        )

    def zeros(self, rows: int, length: int) -> Array:
        return np.zeros((rows, *(length if n is None else n for n in self.shape)), self.dtype)

    def __str__(self) -> str:
        lengths = " x ".join(["N", *("any" if n is None else str(n) for n in self.shape)])
        return f"{self.dtype} {lengths}{'' if self.below is None else f' below {self.below}'}"


@dataclass(frozen=True)
class TensorSpec:
    """The arrays that flow together, in their order."""

    arrays: tuple[ArraySpec, ...]

    @classmethod
    def of(cls, dtype: str, *shape: int | None, below: int | None = None) -> "TensorSpec":
        """A single array."""
        return cls((ArraySpec(dtype, shape, below),))

    def __add__(self, other: "TensorSpec") -> "TensorSpec":
        return TensorSpec(self.arrays + other.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __str__(self) -> str:
        return " and ".join(map(str, self.arrays)) or "nothing"

    @cached_property
    def gradients(self) -> "TensorSpec":
        """What flows back: a gradient for each array of floats, and none for whole numbers and booleans."""
        return TensorSpec(tuple(one for one in self.arrays if one.has_gradient))

    def check(self, tensors: Sequence[Array]) -> None:
        """Raises ValueError unless these are arrays of a microbatch."""
        fits = len(tensors) == len(self) and all(spec.describes(array) for spec, array in zip(self.arrays, tensors, strict=True))
        if not fits or len({len(array) for array in tensors}) > 1:
            found = " and ".join(f"{array.dtype} {array.shape}" for array in tensors) or "nothing"
            raise ValueError(f"{found} came where {self} was to come")

    def accepts(self, other: "TensorSpec") -> bool:
        """Whether everything that the other describes can be taken here."""
        return len(self) == len(other) and all(a.accepts(b) for a, b in zip(self.arrays, other.arrays, strict=True))

    def differentiable(self, tensors: tuple[T, ...]) -> tuple[T, ...]:
        """Those of the arrays, or of what belongs to them in their order, that have a gradient."""
        return tuple(array for spec, array in zip(self.arrays, tensors, strict=True) if spec.has_gradient)

    def zeros(self, rows: int, length: int = 1) -> Tensors:
        """A microbatch of zeros; every length that may vary is `length`."""
        return tuple(spec.zeros(rows, length) for spec in self.arrays)

    def length_in(self, tensors: Tensors) -> int:
        """The first of the lengths that vary, as it is in these arrays; 1 where none does."""
        for spec, array in zip(self.arrays, tensors, strict=True):
            for wanted, length in zip(spec.shape, array.shape[1:], strict=True):
                if wanted is None:
                    return int(length)
        return 1

    def to_body(self) -> list[dict[str, Any]]:
        """As plain values, for a message."""
        return [{"dtype": one.dtype, "shape": list(one.shape), "below": one.below} for one in self.arrays]

    @classmethod
    def from_body(cls, body: Any) -> "TensorSpec":
        """Raises KeyError, TypeError or ValueError when the values are not what `to_body` gave."""
        if not isinstance(body, list) or len(body) > ARRAYS_MAX:
            raise ValueError("no list of arrays")
        return cls(tuple(_array_spec(one) for one in body))


def _array_spec(body: Mapping[str, Any]) -> ArraySpec:
    dtype, shape, below = body["dtype"], tuple(body["shape"]), body["below"]
    if not isinstance(dtype, str) or len(shape) >= NDIM_MAX:
        raise ValueError("no description of an array")
    if not all(n is None or (type(n) is int and n >= 0) for n in (*shape, below)):
        raise ValueError("lengths that are no whole numbers")
    return ArraySpec(dtype, shape, below)
