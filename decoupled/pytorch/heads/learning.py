"""How a head learns: one that reads answers off the activations, by the network's own loss; one that imitates gradients.

Both wrap a module and have an optimiser of their own. A module is given as many tensors as its `forward` takes: of what
leaves the stage those that have a gradient first. All gradients are per sample.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.pytorch.blocks import Block, Flow
from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.losses import summed
from decoupled.pytorch.optimisers import Optimiser
from decoupled.tensors import Array

MODULE, OPTIMISER = "module.", "optimiser."


class _Learning:
    """A module with an optimiser of its own, and its state."""

    def __init__(self, site: HeadSite, module: nn.Module) -> None:
        dtype = torch.float64 if site.first.dtype == "float64" else torch.float32
        self.site, self.module = site, module.to(site.device, dtype).train()
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._parameters = list(named.values())
        self._optimiser = Optimiser(site.optimiser, named, site.rate, site.optimiser_args)
        self._gradients: list[Tensor | None] = []

    def _floating(self, leaving: Flow) -> Flow:
        """Of what leaves the stage, what has a gradient."""
        return self.site.flow.differentiable(leaving)

    def _others(self, leaving: Flow) -> Flow:
        return tuple(one for spec, one in zip(self.site.flow.arrays, leaving, strict=True) if not spec.has_gradient)

    def _learn(self, samples: int, factor: float) -> None:
        if self._gradients:
            self._optimiser.step(self._gradients, samples, factor)
            self._gradients = []

    def adopt(self, published: Flow) -> None:
        """Passed on to a module that has a method `adopt` for it."""
        if adopt := getattr(self.module, "adopt", None):
            with torch.no_grad():
                adopt(*published)

    def state(self) -> dict[str, Array]:
        learnt = {MODULE + name: to_array(value.detach().clone()) for name, value in self.module.state_dict().items()}
        return learnt | {OPTIMISER + name: array for name, array in self._optimiser.state().items()}

    def load(self, state: dict[str, Array]) -> None:
        own = {MODULE + name: value for name, value in self.module.state_dict().items()}
        found = {name: array for name, array in state.items() if not name.startswith(OPTIMISER)}
        if odd := sorted(own.keys() ^ found.keys()):
            raise ValueError(f"{odd[0]} is in only one of the two heads")
        for name, value in own.items():
            if (mine := to_array(value)).shape != found[name].shape or mine.dtype != found[name].dtype:
                raise ValueError(f"the head's {name} is {found[name].dtype} {found[name].shape} there")
        self._optimiser.load({name.removeprefix(OPTIMISER): a for name, a in state.items() if name.startswith(OPTIMISER)})
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(to_tensor(found[name], self.site.device))


class Reading(_Learning):
    """Answers from the activations, by `module`; the gradient of that local loss is the synthetic gradient.

    Every microbatch trains it by the same loss: those whose own gradient comes back as well.
    """

    def __init__(self, site: HeadSite, module: nn.Module) -> None:
        super().__init__(site, module)
        self._read = Block.of(module)

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        leaves = [one.detach().requires_grad_() for one in self._floating(leaving)]
        with torch.enable_grad(), self.site.precision:
            answers = self._read((*leaves, *self._others(leaving)))[0]
            local = summed(self.site.loss, answers, targets[0])
        found = torch.autograd.grad(local, [*leaves, *self._parameters], allow_unused=True)
        self._gradients = list(found[len(leaves) :])
        pairs = zip(leaves, found, strict=False)
        return tuple(torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in pairs)

    def update(self, samples: int, factor: float) -> None:
        self._learn(samples, factor)

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        synthetic = self.synthesize(leaving, targets)
        self._learn(len(leaving[0]), factor)
        return synthetic


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
        square = torch.stack([one.square().sum() for one in returned]).sum() / sum(one.numel() for one in returned)
        self.square += (self.MOMENTUM if self.square else 1.0) * (square - self.square)

    @property
    def scale(self) -> Tensor:
        return self.square.sqrt() if self.square else torch.ones_like(self.square)


class Imitating(_Learning):
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
        floating = self._floating(leaving)
        with self.site.precision:
            made = self.module(*floating, *self._others(leaving), *targets)
        made = (*made, *(torch.zeros_like(one) for one in floating[len(made) :]))
        return tuple(one.to(like.dtype) for one, like in zip(made, floating, strict=True))

    def _in_gradients(self, made: Flow) -> Flow:
        return tuple(one.detach() * self.module.scale.to(one.dtype) for one in made)

    def update(self, samples: int, factor: float) -> None:
        """Nothing: only gradients that come back teach it."""

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        self.module.follow(returned)
        with torch.enable_grad():
            made = self._imitate(leaving, targets)
            wanted = [one / self.module.scale.to(one.dtype) for one in returned]
            pairs = zip(made, wanted, strict=True)
            loss = torch.stack([functional.mse_loss(one, true, reduction="sum") for one, true in pairs]).sum() / 2
        self._gradients = list(torch.autograd.grad(loss, self._parameters, allow_unused=True))
        self._learn(len(leaving[0]), factor)
        return self._in_gradients(made)
