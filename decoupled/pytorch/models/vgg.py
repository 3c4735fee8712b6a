"""vgg: 3 x 3 convolutions with batch norm (Simonyan and Zisserman 2015, arXiv 1409.1556), in a size for small images."""

from itertools import pairwise

from torch import nn

from decoupled.nn.model import ModelSite
from decoupled.pytorch.models.samples import Share, Size, image


def convolution(inputs: int, outputs: int, pool: bool) -> nn.Sequential:
    """3 x 3, batch norm, ReLU, and every second time half the height and width."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


def make(spec: ModelSite, width: Size = 32, dense: Size = 128, dropout: Share = 0.0) -> list[nn.Module]:
    """Seven convolutions of `width` to 4 x `width` channels, and two dense layers, with `dense` units between them.

    Some 41 M multiplications for a sample of 32 x 32 pixels.
    """
    channels, height, breadth = image(spec, "vgg", least=16)
    widths = [channels, width, width, 2 * width, 2 * width, 4 * width, 4 * width, 4 * width]
    blocks = [convolution(a, b, pool=index % 2 == 1 or index == 6) for index, (a, b) in enumerate(pairwise(widths))]
    features = 4 * width * (height // 16) * (breadth // 16)
    last = [nn.Flatten(), nn.Linear(features, dense), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dense, spec.outputs)]
    return [*blocks, nn.Sequential(*last)]
