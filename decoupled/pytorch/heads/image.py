"""The head for images N x C x height x width."""

from typing import Annotated

from pydantic import Field
from torch import nn

from decoupled.pytorch.heads.interface import HeadSite


def image(
    site: HeadSite,
    width: Annotated[int, Field(ge=1, le=65_536)] = 256,
    convolutions: Annotated[int, Field(ge=0, le=8)] = 1,
    layers: Annotated[int, Field(ge=0, le=8)] = 2,
    cells: Annotated[int, Field(ge=2, le=64)] = 2,
) -> nn.Module:
    """Pooled to 2 `cells` a side, 1 x 1 `convolutions`, pooled to `cells`, and an MLP with hidden `layers` of `width`.

    After DGL's MLP-SR-aux (Belilovsky et al. 2020, arXiv 1901.08164).
    """
    channels = site.first.shape[0] or 0
    modules: list[nn.Module] = [nn.AdaptiveAvgPool2d(2 * cells)]
    for _ in range(convolutions):
        modules += [nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU()]
    modules += [nn.AdaptiveAvgPool2d(cells), nn.Flatten()]
    inputs = channels * cells * cells
    for _ in range(layers):
        modules += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*modules, nn.Linear(inputs, site.outputs))
