"""The head for vectors N x H: a reading through a narrow ReLU layer."""

from typing import Annotated

from pydantic import Field
from torch import nn

from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.heads.learning import Reading


def vector(site: HeadSite, width: Annotated[int, Field(ge=0, le=65_536)] = 32) -> Reading:
    """Linear through `width` ReLU units (0: directly), as the readout of `decoupled.nn.heads`."""
    inputs = site.flow.arrays[0].shape[-1]
    assert inputs is not None
    last = nn.Linear(width or inputs, site.outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return Reading(site, nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), last) if width else last)
