"""Heads that regress gradients on activations, as the paper's do (arXiv 1608.05343). They start silent: at zero."""

from torch import Tensor, nn
from torch.nn import functional

from decoupled.pytorch.heads.interface import HeadSite


class Labels(nn.Module):
    """What the targets add to each of `channels`: N x channels, or N x T x channels where each position has a target."""

    def __init__(self, site: HeadSite, channels: int) -> None:
        super().__init__()
        (targets,) = site.targets.arrays
        self._classes = None if targets.below is None else site.outputs
        self.linear = nn.Linear(site.outputs, channels)

    def forward(self, targets: Tensor) -> Tensor:
        values = targets if self._classes is None else functional.one_hot(targets.long(), self._classes)
        added: Tensor = self.linear(values.to(self.linear.weight.dtype))
        return added


class Linear(nn.Module):
    """A linear map of the channels: those of a vector, of each position of a sequence, or of each pixel of an image."""

    predicts_gradient = True

    def __init__(self, site: HeadSite, sees_label: bool) -> None:
        super().__init__()
        self._is_image = len(site.first.shape) == 3
        channels = site.first.shape[0 if self._is_image else -1] or 0
        self.linear = nn.Linear(channels, channels)
        self.labels = Labels(site, channels) if sees_label else None
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor, *others: Tensor) -> Tensor:
        made: Tensor = self.linear(h.movedim(1, -1) if self._is_image else h)
        if self.labels is not None:
            added = self.labels(others[-1])
            made = made + added.reshape(len(added), *[1] * (made.ndim - added.ndim), *added.shape[1:])
        return made.movedim(-1, 1) if self._is_image else made


def linear(site: HeadSite) -> nn.Module:
    return Linear(site, sees_label=False)


def linear_label(site: HeadSite) -> nn.Module:
    return Linear(site, sees_label=True)


class DniConv(nn.Module):
    """Three 5 x 5 convolutions through 128 channels; the label is added after the first."""

    predicts_gradient = True

    def __init__(self, site: HeadSite, width: int) -> None:
        super().__init__()
        channels = site.first.shape[0] or 0
        self.first, self.labels = nn.Conv2d(channels, width, 5, padding=2), Labels(site, width)
        self.rest = nn.Sequential(
            *(nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU()),
            nn.Conv2d(width, channels, 5, padding=2),
        )
        nn.init.zeros_(self.rest[-1].weight)
        nn.init.zeros_(self.rest[-1].bias)

    def forward(self, h: Tensor, *others: Tensor) -> Tensor:
        made: Tensor = self.rest(self.first(h) + self.labels(others[-1])[:, :, None, None])
        return made


def dni_conv(site: HeadSite, width: int = 128) -> nn.Module:
    return DniConv(site, width)
