"""Optimisers in PyTorch: one update with gradients that are sums over samples, and their state as named arrays."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoupled import user_code
from decoupled.errors import UsageError
from decoupled.pytorch.arrays import HOST, NAMES, to_array, to_tensor
from decoupled.pytorch.groups import Groups
from decoupled.registry import Registry
from decoupled.tensors import Array


def nadam(parameters: Any, momentum: float = 0.9, **options: Any) -> torch.optim.NAdam:
    """PyTorch's, with its first decay under the name that numpy's has for it."""
    return torch.optim.NAdam(parameters, **{"betas": (momentum, 0.999)} | options)


OPTIMISERS = Registry("optimiser", {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": nadam, "sgd": torch.optim.SGD})

Named = dict[str, Tensor]
GROUPS = "groups"  # among what it remembers; parameters have longer names


class Optimiser:
    """One of PyTorch's, over named parameters."""

    def __init__(self, name: str, parameters: Named, rate: float, options: dict[str, Any], clip: float | None = None) -> None:
        """`clip` bounds the norm of the mean gradient of all parameters together. Raises UsageError for unfit options."""
        self._name, self._parameters, self._rate, self._clip = name, parameters, rate, clip
        self._options = _fast(name, parameters, options) | {"lr": rate} | options
        self._optimiser = self._make(list(parameters.values())) if parameters else None
        self._groups = Groups(self._optimiser) if self._optimiser is not None else None

    def _make(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        try:
            made = OPTIMISERS.make(self._name, parameters, options=self._options)
        except (ValueError, TypeError, RuntimeError) as error:  # of PyTorch's own
            raise UsageError(f"The optimiser {self._name} does not take its options: {user_code.describe(error)}.") from None
        if not isinstance(made, torch.optim.Optimizer):
            raise UsageError(f"The optimiser {self._name} gave a {type(made).__name__}, which is no torch.optim.Optimizer.")
        return made

    def step(self, gradients: Sequence[Tensor | None], samples: int, factor: float) -> None:
        """One update. The gradients are those of the parameters in their order, summed over `samples`."""
        if self._optimiser is None:
            return
        for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
            parameter.grad = None if gradient is None else gradient / samples
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._clip)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * factor
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Array]:
        """Copies of all it remembers, by parameter and key, and of what it keeps in its groups; nothing before the first update.

        Raises UsageError where something of that cannot be saved.
        """
        if self._optimiser is None or self._groups is None:
            return {}
        of_groups = self._groups.state()
        return ({} if of_groups is None else {GROUPS: of_groups}) | {
            f"{name}.{key}": to_array(torch.as_tensor(value).clone())
            for name, parameter in self._parameters.items()
            for key, value in self._optimiser.state[parameter].items()
            if value is not None
        }

    def check(self, state: dict[str, Array]) -> None:
        """Raises ValueError when this is no state of such an optimiser of such parameters."""
        if self._groups is not None:
            self._groups.check(state.get(GROUPS))
        rest = set(state) - ({GROUPS} if self._groups is not None else set())
        for name, parameter in self._parameters.items():
            own = _of(name, state)
            remembered = self._after_an_update(parameter) if own else {}  # one that had no gradient remembers nothing
            if odd := sorted(own.keys() ^ remembered.keys()):
                raise ValueError(f"the optimiser's {name}.{odd[0]} is in only one of the two")
            for key, array in own.items():
                like = torch.as_tensor(remembered[key])
                if (array.dtype.name, array.shape) != (NAMES[like.dtype], tuple(like.shape)):
                    raise ValueError(f"the optimiser's {name}.{key} is {array.dtype} {array.shape} there")
                if not array.shape and not (np.isfinite(array) and array >= 0):
                    raise ValueError(f"the optimiser's {name}.{key} is {array} there")
            rest -= {f"{name}.{key}" for key in own}
        if rest:
            raise ValueError(f"the optimiser knows no {min(rest)}")

    def load(self, state: dict[str, Array]) -> None:
        """Goes on from a state. Raises ValueError, before anything has changed, when it is not that of such parameters."""
        self.check(state)
        if self._optimiser is None or self._groups is None:
            return
        self._groups.load(state.get(GROUPS))
        for name, parameter in self._parameters.items():
            own = _of(name, state)
            like = self._after_an_update(parameter) if own else {}
            remembered = self._optimiser.state[parameter]
            remembered.clear()
            remembered.update({key: _as_before(array, like[key]) for key, array in own.items()})

    def _after_an_update(self, parameter: Tensor) -> dict[str, Any]:
        """What it remembers of such a parameter, found on a twin."""
        twin = torch.nn.Parameter(torch.zeros_like(parameter))
        twin.grad = torch.zeros_like(parameter)
        trial = self._make([twin])
        trial.step()
        return {key: value for key, value in trial.state[twin].items() if value is not None}


def try_out(name: str, parameters: Sequence[Tensor], options: dict[str, Any]) -> None:
    """An update of twins of the parameters. Raises UsageError unless the optimiser can make it, and be saved."""
    if "lr" in options:
        raise UsageError("The learning rate is --lr, and no option of the optimiser.")
    for parameter in parameters:
        optimiser = Optimiser(name, {"twin": torch.nn.Parameter(torch.zeros_like(parameter))}, 0.1, options)
        try:
            optimiser.step([torch.ones_like(parameter)], 1, 1.0)
            optimiser.load(optimiser.state())
        except UsageError:
            raise
        except Exception as error:
            shape = " x ".join(map(str, parameter.shape)) or "a single number"
            said = user_code.describe(error)
            raise UsageError(f"The optimiser {name} cannot train, or save, a parameter of {shape}: {said}.") from error


def _fast(name: str, parameters: Named, options: dict[str, Any]) -> dict[str, Any]:
    """Options with which PyTorch's own do the same on the CPU in a third of the time."""
    is_known = name in OPTIMISERS and "fused" in inspect.signature(OPTIMISERS[name]).parameters
    is_free = not options.keys() & {"foreach", "capturable", "differentiable"}
    return {"fused": True} if is_known and is_free and all(p.device == HOST for p in parameters.values()) else {}


def _of(name: str, state: dict[str, Array]) -> dict[str, Array]:
    """What is remembered of one parameter."""
    return {key.removeprefix(f"{name}."): array for key, array in state.items() if key.rpartition(".")[0] == name}


def _as_before(array: Array, like: Any) -> Any:
    """The array as what it was: a tensor, or a number."""
    return to_tensor(array, like.device) if isinstance(like, Tensor) else type(like)(array.item())
