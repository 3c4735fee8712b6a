"""The seam for heads in PyTorch: what a stage asks of its head, and what a head may be built from."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from decoupled.pytorch.blocks import Block, Flow
from decoupled.pytorch.losses import Loss
from decoupled.tensors import Array, ArraySpec, TensorSpec


@dataclass(frozen=True, slots=True, eq=False)
class HeadSite:
    """Where a head sits, and what it may be built from."""

    flow: TensorSpec  # what leaves the stage
    outputs: int  # classes, bits or values that the network answers with
    targets: TensorSpec
    loss: Loss  # the network's
    rate: float  # its learning rate, before decay
    device: torch.device
    stage: tuple[Block, ...]  # the stage's own blocks, to take their kind
    output: nn.Linear | None  # the network's output layer with its initial weights, which the last stage trains
    optimiser: str = "adam"
    optimiser_args: dict[str, Any] = field(default_factory=dict)
    precision: AbstractContextManager[object] = field(default_factory=nullcontext)  # what the stage computes under

    @property
    def first(self) -> ArraySpec:
        """The first of the arrays that leave the stage and have a gradient: what heads look at."""
        return self.flow.gradients.arrays[0]

    @property
    def has_positions(self) -> bool:
        """Whether a sample has an answer for each position, as a text has, and not one in all."""
        (targets,) = self.targets.arrays
        return len(targets.shape) > (targets.below is None)


class Head(Protocol):
    """Predicts the gradients, per sample, of what leaves a stage, given the targets that travel with it."""

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        """The synthetic gradient of each tensor that has one."""

    def update(self, samples: int, factor: float) -> None:
        """Learns from what the last `synthesize` showed, where this head can; `factor` scales its learning rate."""

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        """Learns from the gradients that came back; gives what it would have predicted, for measures."""

    def adopt(self, published: Flow) -> None:
        """Takes over the weight of the network's output layer, and its bias if it has one, as the last stage has them now."""

    def state(self) -> dict[str, Array]:
        """Copies of all that it has learnt."""

    def load(self, state: dict[str, Array]) -> None:
        """Goes on from a state. Raises ValueError, before anything has changed, when it is not that of such a head."""
