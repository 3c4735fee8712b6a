"""Kept weights: a pass that goes back late finds the weights of its own forward pass, at the cost of a copy only then.

PipeDream's weight stashing (Narayanan et al. 2019, section 3.3) by autograd's saved tensors. What a pass saves of a weight is
a note of where it lies, and in which version. When an update is about to change weights that a pass in flight still needs,
they are copied once for that version, and no others. A pass that has gone back before the update costs nothing.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, UntypedStorage


class Version:
    """The weights between two updates. Those that a pass needs are copied here when newer ones take their place."""

    __slots__ = ("__weakref__", "copies", "needed")

    def __init__(self) -> None:
        self.needed: set[int] = set()  # addresses of weights
        self.copies: dict[int, UntypedStorage] = {}  # by the same; none while they are the stage's own


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """A weight, or a view of it, that a pass needs to go back. The version lives as long as one of its notes."""

    version: Version
    address: int
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class KeptWeights:
    """A stage's weights, with the older versions that passes in flight still need.

    Weights are known by the memory they lie in, so that views of them, and several in one piece of memory, are found. So are
    buffers, which a block may change in every pass: of these a pass keeps what they were at its time.
    """

    def __init__(self, weights: list[Tensor], buffers: list[Tensor]) -> None:
        self._storages, self._buffers = _by_address(weights), _by_address(buffers)
        self._newest: weakref.ref[Version] | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What is computed meanwhile saves notes in place of weights."""
        version = self._needed() or Version()
        self._newest = weakref.ref(version)

        def pack(tensor: Tensor) -> Noted | tuple[Tensor, int]:
            address = tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0
            if address in self._buffers:
                copy = tensor.detach().clone()
                return copy, copy._version
            if address not in self._storages:
                return tensor.detach(), tensor._version  # without its way back, which would hold itself alive
            version.needed.add(address)
            return Noted(version, address, tensor.dtype, tensor.size(), tensor.stride(), tensor.storage_offset())

        with torch.autograd.graph.saved_tensors_hooks(pack, self._unpack):
            yield

    def _unpack(self, saved: Noted | tuple[Tensor, int]) -> Tensor:
        if isinstance(saved, tuple):
            tensor, before = saved
            if tensor._version != before:  # which autograd checks only without hooks
                raise RuntimeError("a block has changed a tensor in place that its way back needs")
            return tensor
        storage = saved.version.copies.get(saved.address, self._storages[saved.address])
        return torch.empty(0, dtype=saved.dtype, device=storage.device).set_(storage, saved.offset, saved.size, saved.stride)

    def _needed(self) -> Version | None:
        """The version of the moment, while a pass needs it."""
        return None if self._newest is None else self._newest()

    def before_update(self) -> None:
        """Copies the weights that a pass in flight needs as they are."""
        version = self._needed()
        if version is not None:
            version.copies = {address: self._storages[address].clone() for address in version.needed}
        self._newest = None


def _by_address(tensors: list[Tensor]) -> dict[int, UntypedStorage]:
    """The memory that they lie in."""
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.numel() and tensor.layout is torch.strided]
    return {storage.data_ptr(): storage for storage in storages}
