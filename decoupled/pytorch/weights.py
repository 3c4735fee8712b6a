"""Kept weights: a pass that goes back late finds the weights of its own forward pass, at the cost of a copy only then.

PipeDream's weight stashing (Narayanan et al. 2019, section 3.3) by autograd's saved tensors. What a pass saves of a weight is
a note of which weight and which version. When an update is about to change weights that a pass in flight still needs, they
are copied once for that version. A pass that has gone back before the update costs nothing.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


class Version:
    """The weights between two updates. They are copied here when newer ones take their place."""

    __slots__ = ("__weakref__", "weights")

    def __init__(self) -> None:
        self.weights: list[Tensor] | None = None  # None while they are the stage's own


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """A weight, or a view of it, that a pass needs to go back."""

    version: Version
    index: int
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class KeptWeights:
    """A stage's weights, with the older versions that passes in flight still need."""

    def __init__(self, weights: list[Tensor]) -> None:
        self._weights = weights
        self._index = {weight.untyped_storage().data_ptr(): index for index, weight in enumerate(weights)}
        self._newest: weakref.ref[Version] | None = None

    @contextmanager
    def noted(self) -> Iterator[Version]:
        """What is computed meanwhile saves notes in place of weights. The version lives as long as somebody needs it."""
        version = self._needed() or Version()
        self._newest = weakref.ref(version)

        def pack(tensor: Tensor) -> Noted | tuple[Tensor, int]:
            index = self._index.get(tensor.untyped_storage().data_ptr())
            if index is None:
                return tensor, tensor._version
            offset = tensor.storage_offset() - self._weights[index].storage_offset()
            return Noted(version, index, tensor.size(), tensor.stride(), offset)

        def unpack(saved: Noted | tuple[Tensor, int]) -> Tensor:
            if isinstance(saved, Noted):
                return self._find(saved)
            tensor, before = saved
            if tensor._version != before:  # which autograd checks only without hooks
                raise RuntimeError("a block has changed a tensor in place that its way back needs")
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield version

    def _needed(self) -> Version | None:
        """The version of the moment, while a pass needs it."""
        return None if self._newest is None else self._newest()

    def _find(self, noted: Noted) -> Tensor:
        weight = (noted.version.weights or self._weights)[noted.index].detach()
        return weight.as_strided(noted.size, noted.stride, weight.storage_offset() + noted.offset)

    def before_update(self) -> None:
        """Copies the weights if a pass in flight needs them as they are."""
        version = self._needed()
        if version is not None:
            version.weights = [weight.detach().clone() for weight in self._weights]
        self._newest = None
