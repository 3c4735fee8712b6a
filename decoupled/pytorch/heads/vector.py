"""The head for vectors N x H: a reading through a narrow ReLU layer."""

from typing import Annotated

from pydantic import Field
from torch import nn

from decoupled.pytorch.heads.interface import HeadSite


def vector(site: HeadSite, width: Annotated[int, Field(ge=0, le=65_536)] = 32) -> nn.Module:
    """Linear through `width` ReLU units (0: directly), as the readout of `decoupled.nn.heads`."""
    inputs = site.first.shape[-1] or 0
    last = nn.Linear(width or inputs, site.outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), last) if width else last
