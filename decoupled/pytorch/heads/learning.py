"""How a head learns: one that reads answers off the activations, by the network's own loss; one that imitates gradients.

Both wrap a module and have an optimiser of their own. All gradients are per sample.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.pytorch.blocks import Flow
from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.losses import summed
from decoupled.pytorch.optimisers import Optimiser
from decoupled.tensors import Array

MODULE, OPTIMISER = "module.", "optimiser."


class _Learning:
    """A module with an optimiser of its own, and its state."""

    def __init__(self, site: HeadSite, module: nn.Module) -> None:
        self.site, self.module = site, module.to(site.device)
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._parameters = list(named.values())
        self._optimiser = Optimiser(site.optimiser, named, site.rate, site.optimiser_args)
        self._gradients: list[Tensor | None] = []

    def _learn(self, samples: int, factor: float) -> None:
        if self._gradients:
            self._optimiser.step(self._gradients, samples, factor)
            self._gradients = []

    def adopt(self, published: Flow) -> None:
        """Nothing: this head does not look at the last stage."""

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

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        leaves = tuple(one.detach().requires_grad_(one.is_floating_point()) for one in leaving)
        floating = [leaf for leaf in leaves if leaf.requires_grad]
        with torch.enable_grad():
            local = summed(self.site.loss, self.module(*leaves), targets[0])
        found = torch.autograd.grad(local, [*floating, *self._parameters], allow_unused=True)
        self._gradients = list(found[len(floating) :])
        pairs = zip(floating, found, strict=False)
        return tuple(torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in pairs)

    def update(self, samples: int, factor: float) -> None:
        self._learn(samples, factor)

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        synthetic = self.synthesize(leaving, targets)
        self._learn(len(leaving[0]), factor)
        return synthetic


class Imitating(_Learning):
    """The gradients themselves, by `module` of the activations and the targets; it learns from those that come back alone.

    Its loss is the mean over samples of |synthetic - returned|^2 / 2 (arXiv 1608.05343, section 2).
    """

    def synthesize(self, leaving: Flow, targets: Flow) -> Flow:
        with torch.no_grad():
            made = self.module(*leaving, *targets)
        return made if isinstance(made, tuple) else (made,)

    def update(self, samples: int, factor: float) -> None:
        """Nothing: only gradients that come back teach it."""

    def refine(self, leaving: Flow, targets: Flow, returned: Flow, factor: float) -> Flow:
        with torch.enable_grad():
            made = self.module(*leaving, *targets)
            synthetic = made if isinstance(made, tuple) else (made,)
            pairs = zip(synthetic, returned, strict=True)
            loss = torch.stack([functional.mse_loss(one, true.to(one.dtype), reduction="sum") for one, true in pairs]).sum() / 2
        self._gradients = list(torch.autograd.grad(loss, self._parameters, allow_unused=True))
        self._learn(len(leaving[0]), factor)
        return tuple(one.detach() for one in synthetic)
