"""What heads that learn have in common: a module with an optimiser of its own, and its state.

A module is given as many tensors as its `forward` takes: of what leaves the stage, those that have a gradient first.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.pytorch.blocks import Flow
from decoupled.pytorch.heads.interface import HeadSite
from decoupled.pytorch.optimisers import Optimiser
from decoupled.tensors import Array

MODULE, OPTIMISER = "module.", "optimiser."  # before the names of what belongs to them


class Learning:
    """A module with an optimiser of its own, and its state."""

    def __init__(self, site: HeadSite, module: nn.Module) -> None:
        dtype = torch.float64 if site.first.dtype == "float64" else torch.float32
        self.site = replace(site, stage=(), output=None)  # of which the module has copies, where it needs them
        self.module = module.to(site.device, dtype).train()
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.parameters = list(named.values())
        self._optimiser = Optimiser(site.optimiser, named, site.rate, site.optimiser_args)
        self.gradients: list[Tensor | None] = []

    def floating(self, leaving: Flow) -> Flow:
        """Of what leaves the stage, what has a gradient."""
        return self.site.flow.differentiable(leaving)

    def others(self, leaving: Flow) -> Flow:
        return tuple(one for spec, one in zip(self.site.flow.arrays, leaving, strict=True) if not spec.has_gradient)

    def learn(self, samples: int, factor: float) -> None:
        if self.gradients:
            self._optimiser.step(self.gradients, samples, factor)
            self.gradients = []

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
