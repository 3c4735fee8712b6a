"""resnet: residual blocks for small images (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from torch import Tensor, nn

from decoupled.nn.model import ModelSite
from decoupled.pytorch.models.samples import Depth, Size, image


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a skip connection, which a 1 x 1 convolution fits where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        is_same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if is_same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.body(x) + self.skip(x))
        return y


def make(spec: ModelSite, width: Size = 16, depth: Depth = 1) -> list[nn.Module]:
    """A convolution, three groups of `depth` residual blocks with twice the channels each, and a dense layer."""
    channels, _, _ = image(spec, "resnet", least=4)
    first = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    blocks: list[nn.Module] = [first]
    before = width
    for group in range(3):
        after = width * 2**group
        for index in range(depth):
            blocks.append(Residual(before, after, stride=2 if group and not index else 1))
            before = after
    return [*blocks, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, spec.outputs))]
