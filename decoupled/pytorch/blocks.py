"""Blocks: `nn.Module`s in a row, between which one tensor or several flow.

A block that takes k tensors is given the first k of those that flow. What it gives, one tensor or a tuple, takes their
place at the front, and the others pass it by. So a block may hand on its input beside its output, for a later one to use.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from decoupled import user_code
from decoupled.errors import UsageError
from decoupled.pytorch.arrays import HOST, NAMES, to_tensor
from decoupled.tensors import Array, ArraySpec, TensorSpec

Flow = tuple[Tensor, ...]

TRIES = ((2, 5), (3, 7))  # rows and lengths: a length that differs between the two is one that varies


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One module, and how many tensors it takes; None: all."""

    module: nn.Module
    takes: int | None

    @classmethod
    def of(cls, module: nn.Module) -> "Block":
        parameters = inspect.signature(module.forward).parameters.values()
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return cls(module, None)
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return cls(module, sum(p.default is p.empty for p in positional) or 1)

    def __call__(self, flowing: Flow) -> Flow:
        taken = len(flowing) if self.takes is None else self.takes
        if taken > len(flowing):
            raise ValueError(f"{self.name} takes {taken} tensors, and only {len(flowing)} flow")
        made = self.module(*flowing[:taken])
        given = (*(made if isinstance(made, tuple | list) else (made,)), *flowing[taken:])
        if not all(isinstance(one, Tensor) for one in given):
            what = " and ".join(type(one).__name__ for one in given)
            raise UsageError(f"The block {self.name} must give tensors, one or a tuple of several, and gives {what}.")
        return given

    @property
    def name(self) -> str:
        return type(self.module).__name__

    @property
    def numbers(self) -> int:
        """How many it learns."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)


def row_of(made: Any) -> nn.Sequential:
    """What a user's function gives, a list of modules or an nn.Sequential, as the latter. Raises UsageError for others."""
    if isinstance(made, nn.Sequential):
        return made
    is_row = isinstance(made, nn.ModuleList) or (isinstance(made, Iterable) and not isinstance(made, nn.Module))
    modules = list(made) if is_row else [made]
    if not modules or not all(isinstance(module, nn.Module) for module in modules):
        raise UsageError(f"A model is a list of nn.Modules, one for each block, or an nn.Sequential; {made!r:.60} is none.")
    return nn.Sequential(*modules)


def blocks_of(row: nn.Sequential) -> list[Block]:
    return [Block.of(module) for module in row]


def renamed(arrays: dict[str, Array], row: nn.Sequential) -> dict[str, Array]:
    """What the blocks hold, which is named by their places, under the names that they have in a user's own row."""
    names = list(row._modules)  # "0", "1" and so on, unless the user gave others
    places = {name: name.partition(".") for name in arrays}
    return {f"{names[int(place)]}.{rest}": arrays[name] for name, (place, _, rest) in places.items()}


@contextmanager
def evaluating(blocks: Iterable[Block]) -> Iterator[None]:
    """Evaluation mode, for all that is in training mode."""
    modules = [module for block in blocks for module in block.module.modules() if module.training]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True


def flows(blocks: Sequence[Block], inputs: TensorSpec, first: int = 0) -> list[TensorSpec]:
    """What enters each block, and what leaves the last, found by passing zeros through in evaluation mode.

    Raises UsageError where a block, whose number counts from `first`, cannot take what the one before it gives.
    """
    varies = any(None in spec.shape for spec in inputs.arrays)
    tries = [_shapes(dict(enumerate(blocks, first)), inputs, rows, length) for rows, length in (TRIES if varies else TRIES[:1])]
    found = [inputs]
    for index, (made, *others) in enumerate(zip(*tries, strict=True)):
        if any(len(other) != len(made) for other in others):
            raise UsageError(f"Block {first + index} ({blocks[index].name}) gives another number of tensors for other lengths.")
        found.append(TensorSpec(tuple(_spec(one, [other[at] for other in others]) for at, one in enumerate(made))))
    return found


def _spec(one: Tensor, others: list[Tensor]) -> ArraySpec:
    shape = tuple(
        length if all(other.shape[axis] == length for other in others) else None
        for axis, length in enumerate(one.shape)
        if axis > 0
    )
    return ArraySpec(NAMES[one.dtype], shape)


def _shapes(blocks: dict[int, Block], inputs: TensorSpec, rows: int, length: int) -> list[Flow]:
    """What each block gives for so many samples of such a length."""
    flowing: Flow = tuple(to_tensor(array, HOST) for array in inputs.zeros(rows, length))
    found = []
    for index, block in blocks.items():
        try:
            with torch.enable_grad(), evaluating([block]):  # without gradients some modules give other types than in training
                flowing = block(flowing)
        except UsageError:
            raise
        except Exception as error:
            given = " and ".join(f"{NAMES.get(one.dtype, one.dtype)} {tuple(one.shape)}" for one in flowing)
            said = user_code.describe(error)
            raise UsageError(f"Block {index} ({block.name}) cannot take {given}: {said}.") from error
        if not all(one.dtype in NAMES and one.ndim and len(one) == rows for one in flowing):
            raise UsageError(f"Block {index} ({block.name}) must give tensors whose first dimension is that of the samples.")
        flowing = tuple(one.detach() for one in flowing)
        found.append(flowing)
    return found
