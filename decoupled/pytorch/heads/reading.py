"""A head that reads the network's answers off what leaves the stage, and learns from every microbatch."""

import torch
from torch import nn

from decoupled.pytorch.blocks import Block, Flow
from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.heads.learning import Learning
from decoupled.pytorch.losses import summed


class Reading(Learning):
    """Answers from the activations, by `module`; the gradient of that local loss is the synthetic gradient.

    Every microbatch trains it by the same loss: those whose own gradient comes back as well.
    """

    def __init__(self, site: HeadSite, module: nn.Module) -> None:
        super().__init__(site, module)
        self._read = Block.of(module)

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        leaves = [one.detach().requires_grad_() for one in self.floating(leaving)]
        with torch.enable_grad(), self.site.precision:
            answers = self._read((*leaves, *self.others(leaving)))[0]
            local = summed(self.site.loss, answers, targets[0])
        found = torch.autograd.grad(local, [*leaves, *self.parameters], allow_unused=True)
        self.gradients = list(found[len(leaves) :])
        pairs = zip(leaves, found, strict=False)
        return tuple(torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in pairs)

    def update(self, samples: int, factor: float) -> None:
        self.learn(samples, factor)

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        synthetic = self.synthesize(leaving, targets)
        self.learn(len(leaving[0]), factor)
        return synthetic
