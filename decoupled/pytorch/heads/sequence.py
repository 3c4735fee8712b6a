"""The head for sequences N x T x C: a reading of every position by the last stage's own output layer."""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from decoupled.errors import UsageError
from decoupled.pytorch.blocks import Block
from decoupled.pytorch.heads.interface import HeadSite
from decoupled.tensors import TensorSpec


def output_layer(last: nn.Module, outputs: int) -> nn.Linear | None:
    """The linear layer of a network's last block that gives its answers."""
    found = [module for module in last.modules() if isinstance(module, nn.Linear) and module.out_features == outputs]
    return found[-1] if found else None


class SharedReadout(nn.Module):
    """What comes before the reading, a norm, a temperature, and the network's output layer, which is only read."""

    def __init__(self, before: list[nn.Module], output: nn.Linear, has_positions: bool) -> None:
        super().__init__()
        self.before, self.norm = nn.Sequential(*before), nn.LayerNorm(output.in_features)
        self.temperature = nn.Parameter(torch.ones(()))
        self.output = copy.deepcopy(output).requires_grad_(False)
        self._has_positions = has_positions

    def forward(self, h: Tensor) -> Tensor:
        h = self.norm(self.before(h)) * self.temperature
        answers: Tensor = self.output(h if self._has_positions else h.mean(1))
        return answers

    def adopt(self, *published: Tensor) -> None:
        for mine, its in zip(self.output.parameters(), published, strict=True):
            mine.copy_(its)


class Residual(nn.Module):
    """An MLP beside a skip connection, at each position."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.GELU(), nn.Linear(width, channels))

    def forward(self, h: Tensor) -> Tensor:
        added: Tensor = h + self.mlp(h)
        return added


def sequence(
    site: HeadSite, blocks: Annotated[int, Field(ge=0, le=2)] = 1, width: Annotated[int, Field(ge=0, le=64)] = 2
) -> nn.Module:
    """`blocks` of the stage's own kind before the reading. Without one: an MLP of `width` times the channels (0: nothing).

    After SOLO (2026, arXiv 2609.35440).
    """
    channels, output = site.first.shape[-1] or 0, site.output
    if output is None or output.in_features != channels or len(site.first.shape) != 2:
        raise UsageError(
            f"The head sequence reads {site.first} by a linear layer from {channels} to {site.outputs} of the network's "
            "last block, and finds none. Give a head of your own: --head my_head.py:make"
        )
    kind = _of_its_kind(site) if blocks else None
    before = [_anew(kind) for _ in range(blocks)] if kind is not None else []
    return SharedReadout(before or ([Residual(channels, width * channels)] if width else []), output, site.has_positions)


def _of_its_kind(site: HeadSite) -> nn.Module | None:
    """The last block of the stage that makes of what leaves it the same again, from one tensor."""
    for block in reversed(site.stage):
        if block.takes == 1 and _keeps(block, TensorSpec((site.first,)), site):
            return block.module
    return None


def _keeps(block: Block, flow: TensorSpec, site: HeadSite) -> bool:
    trial = copy.deepcopy(block.module).to(site.device).eval()
    h = torch.from_numpy(flow.zeros(2, 3)[0]).to(site.device)
    try:
        with torch.no_grad(), site.precision:
            made = trial(h)
    except Exception:  # whatever a user's block says of what it was not made for
        return False
    return isinstance(made, Tensor) and made.shape == h.shape


def _anew(module: nn.Module) -> nn.Module:
    """A copy with weights of its own, as far as its parts know how to draw them."""
    one = copy.deepcopy(module)
    for part in one.modules():
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
    return one.requires_grad_()
