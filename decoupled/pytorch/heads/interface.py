"""The seam for heads in PyTorch: what a stage asks of its head, and what a head may be built from."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from decoupled.pytorch.blocks import Block, Flow
from decoupled.pytorch.losses import Loss
from decoupled.tensors import Array, TensorSpec


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
    last: nn.Module  # the network's last block with its initial weights, which the last stage trains
    optimiser: str = "adam"
    optimiser_args: dict[str, Any] = field(default_factory=dict)


class Head(Protocol):
    """Predicts the gradients, per sample, of what leaves a stage, given the targets that travel with it."""

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        """The synthetic gradient of each tensor that has one."""

    def update(self, samples: int, factor: float) -> None:
        """Learns from what the last `synthesize` showed, where this head can; `factor` scales its learning rate."""

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        """Learns from the gradients that came back; gives what it would have predicted, for measures."""

    def adopt(self, published: Flow) -> None:
        """Takes over what the last stage publishes. Raises ValueError when that does not fit."""

    def state(self) -> dict[str, Array]:
        """Copies of all that it has learnt."""

    def load(self, state: dict[str, Array]) -> None:
        """Goes on from a state. Raises ValueError, before anything has changed, when it is not that of such a head."""
