"""A head that imitates gradients, and learns from those that come back."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoupled.pytorch.blocks import Flow
from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.heads.learning import Learning


class Scaled(nn.Module):
    """A module whose answers are in units of what came back: its running root mean square, so that they are of size one."""

    MOMENTUM = 0.05

    square: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("square", torch.zeros(()))

    def forward(self, *given: Tensor) -> Flow:
        made = self.module(*given)
        return made if isinstance(made, tuple) else (made,)

    def follow(self, returned: Flow) -> None:
        """Takes in gradients that came back."""
        squares = [one.square().sum() for one in returned]
        square = torch.stack(squares).sum() / sum(one.numel() for one in returned)
        self.square += (self.MOMENTUM if self.square else 1.0) * (square - self.square)

    @property
    def scale(self) -> Tensor:
        return self.square.sqrt() if self.square else torch.ones_like(self.square)


class Imitating(Learning):
    """The gradients themselves, by `module` of all that leaves the stage and the targets; zeros for those it does not give.

    It learns from those that come back alone, by the mean over samples of |synthetic - returned|^2 / 2 in units of their
    scale (arXiv 1608.05343, section 2).
    """

    module: Scaled

    def __init__(self, site: HeadSite, module: nn.Module) -> None:
        super().__init__(site, Scaled(module))

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        with torch.no_grad():
            return self._in_gradients(self._imitate(leaving, targets))

    def _imitate(self, leaving: Flow, targets: Flow) -> Flow:
        floating = self.floating(leaving)
        with self.site.precision:
            made = self.module(*floating, *self.others(leaving), *targets)
        made = (*made, *(torch.zeros_like(one) for one in floating[len(made) :]))
        return tuple(one.to(like.dtype) for one, like in zip(made, floating, strict=True))

    def _in_gradients(self, made: Flow) -> Flow:
        return tuple(one.detach() * self.module.scale.to(one.dtype) for one in made)

    def update(self, samples: int, factor: float) -> None:
        """Nothing: only gradients that come back teach it."""

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        returned = tuple(one.to(self.module.square.dtype) for one in returned)
        self.module.follow(returned)
        with torch.enable_grad():
            made = self._imitate(leaving, targets)
            wanted = [one / self.module.scale for one in returned]
            errors = [
                functional.mse_loss(one.to(true.dtype), true, reduction="sum") for one, true in zip(made, wanted, strict=True)
            ]
            loss = torch.stack(errors).sum() / 2
        self.gradients = list(torch.autograd.grad(loss, self.parameters, allow_unused=True))
        self.learn(len(leaving[0]), factor)
        return self._in_gradients(made)
