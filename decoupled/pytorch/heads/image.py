"""The head for images N x C x height x width."""

from typing import Annotated

from pydantic import Field
from torch import nn

from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.heads.learning import Reading


def image(
    site: HeadSite,
    width: Annotated[int, Field(ge=1, le=65_536)] = 256,
    cells: Annotated[int, Field(ge=1, le=64)] = 2,
) -> Reading:
    """Pooled to 2 `cells` a side, a 1 x 1 convolution, pooled to `cells`, and an MLP with two layers of `width`.

    After DGL's MLP-SR-aux (Belilovsky et al. 2020, arXiv 1901.08164).
    """
    channels = site.flow.arrays[0].shape[0]
    assert channels is not None
    return Reading(
        site,
        nn.Sequential(
            nn.AdaptiveAvgPool2d(2 * cells),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(cells),
            nn.Flatten(),
            nn.Linear(channels * cells * cells, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, site.outputs),
        ),
    )
