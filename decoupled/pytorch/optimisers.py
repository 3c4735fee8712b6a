"""Optimisers in PyTorch: one update with gradients that are sums over samples, and their state as named arrays."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.registry import Registry
from decoupled.tensors import Array

OPTIMISERS = Registry(
    "optimiser",
    {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam, "sgd": torch.optim.SGD},
)

Named = dict[str, Tensor]


class Optimiser:
    """One of PyTorch's, over named parameters."""

    def __init__(self, name: str, parameters: Named, rate: float, options: dict[str, Any], clip: float | None = None) -> None:
        """`clip` bounds the norm of the mean gradient of all parameters together. Raises UsageError for unfit options."""
        self._parameters, self._rate, self._clip = parameters, rate, clip
        self._make: Callable[[Iterable[Tensor]], torch.optim.Optimizer] = lambda given: OPTIMISERS.make(
            name, given, options={"lr": rate} | options
        )
        self._optimiser = self._make(parameters.values()) if parameters else None

    def step(self, gradients: list[Tensor | None], samples: int, factor: float) -> None:
        """One update. The gradients are those of the parameters in their order, summed over `samples`."""
        if self._optimiser is None:
            return
        for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.div_(samples)
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._clip)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * factor
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Array]:
        """Copies of all it remembers, by parameter and key; nothing before the first update."""
        if self._optimiser is None:
            return {}
        return {
            f"{name}.{key}": to_array(torch.as_tensor(value).clone())
            for name, parameter in self._parameters.items()
            for key, value in self._optimiser.state[parameter].items()
            if value is not None
        }

    def load(self, state: dict[str, Array]) -> None:
        """Goes on from a state. Raises ValueError, before anything has changed, when it is not that of such parameters."""
        known = self._shapes() if state else {}
        for name, array in state.items():
            if name not in known or known[name] != array.shape or array.dtype.kind not in "fiu":
                raise ValueError(f"the optimiser knows no {name} of shape {array.shape}")
        if self._optimiser is None:
            return
        for name, parameter in self._parameters.items():
            own = {key.removeprefix(f"{name}."): array for key, array in state.items() if key.rpartition(".")[0] == name}
            host = torch.device("cpu")
            found = {key: to_tensor(array, parameter.device if array.ndim else host) for key, array in own.items()}
            self._optimiser.state[parameter].clear()
            self._optimiser.state[parameter].update(found)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """What it remembers after an update: found on a parameter of one number."""
        one = torch.nn.Parameter(torch.zeros(1))
        one.grad = torch.ones(1)
        trial = self._make([one])
        trial.step()
        keys = {key: torch.as_tensor(value).ndim for key, value in trial.state[one].items() if value is not None}
        return {
            f"{name}.{key}": tuple(parameter.shape) if ndim else ()
            for name, parameter in self._parameters.items()
            for key, ndim in keys.items()
        }
