"""The head for sequences N x T x C: a reading of every position by the last stage's own output layer."""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from decoupled.errors import UsageError
from decoupled.pytorch.blocks import Flow
from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.heads.learning import Reading


def output_layer(last: nn.Module, outputs: int) -> nn.Linear | None:
    """The linear layer of a network's last block that gives its answers."""
    found = [module for module in last.modules() if isinstance(module, nn.Linear) and module.out_features == outputs]
    return found[-1] if found else None


class SharedReadout(nn.Module):
    """Blocks of the stage's own kind, a norm, a temperature, and the network's output layer, which is only read."""

    def __init__(self, blocks: list[nn.Module], output: nn.Linear) -> None:
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(output.in_features)
        self.temperature = nn.Parameter(torch.ones(()))
        self.shared = nn.ParameterList(p.detach().clone().requires_grad_(False) for p in output.parameters())

    def forward(self, h: Tensor, *others: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h)
        return nn.functional.linear(self.norm(h) * self.temperature, *self.shared)


class Sequence(Reading):
    """After SOLO (2026, arXiv 2609.35440)."""

    module: SharedReadout

    def adopt(self, published: Flow) -> None:
        own = list(self.module.shared)
        if [p.shape for p in published] != [p.shape for p in own]:
            raise ValueError("what the last stage publishes is not the output layer that this head has")
        with torch.no_grad():
            for mine, its in zip(own, published, strict=True):
                mine.copy_(its)


def sequence(site: HeadSite, blocks: Annotated[int, Field(ge=0, le=2)] = 1) -> Sequence:
    """`blocks` of the stage's own kind before the reading."""
    output = output_layer(site.last, site.outputs)
    if output is None:
        raise UsageError(f"The head sequence needs a linear layer of {site.outputs} outputs in the network's last block.")
    made = []
    for _ in range(blocks):
        one = copy.deepcopy(site.stage[-1].module)
        for module in one.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        made.append(one)
    return Sequence(site, SharedReadout(made, output))
