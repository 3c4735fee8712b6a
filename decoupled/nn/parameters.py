"""Parameters: named arrays with a gradient each, packed side by side so that an optimiser takes them in one sweep."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(slots=True, eq=False)
class Parameter:
    """A trained array and the sum of its gradient over the samples of a microbatch (the same shape)."""

    name: str
    value: Array
    gradient: Array

    @classmethod
    def of(cls, name: str, value: Array) -> "Parameter":
        """A parameter that starts at `value`, with a gradient of zero."""
        return cls(name, value, np.zeros_like(value))


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """The values and the gradients of several parameters as two flat arrays."""

    values: Array
    gradients: Array
    members: tuple[Parameter, ...] = ()

    @contextmanager
    def with_values(self, values: Array) -> Iterator[None]:
        """Has the parameters show other values, laid out as these, for as long as the context lasts."""
        self._show(values)
        try:
            yield
        finally:
            self._show(self.values)

    def _show(self, values: Array) -> None:
        start = 0
        for p in self.members:
            stop = start + p.value.size
            p.value = values[start:stop].reshape(p.value.shape)
            start = stop


def pack(parameters: Iterable[Parameter]) -> Pack:
    """Moves `parameters` into two flat arrays and leaves each one a view of its part.

    An optimiser then makes one pass over long arrays instead of one call for each small one.
    """
    members = list(parameters)
    dtype = members[0].value.dtype if members else np.dtype(np.float32)
    size = sum(p.value.size for p in members)
    packed = Pack(np.empty(size, dtype), np.zeros(size, dtype), tuple(members))
    start = 0
    for p in members:
        part = slice(start, start + p.value.size)
        packed.values[part] = p.value.ravel()
        p.value = packed.values[part].reshape(p.value.shape)
        p.gradient = packed.gradients[part].reshape(p.value.shape)
        start = part.stop
    return packed
