"""Optimisers and learning rates: one step over a flat pack of parameters.

Gradients are sums over samples; `samples` says how many. The division is folded into constants, so it costs no pass.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from decoupled.nn import kernels
from decoupled.nn.parameters import Array, Pack
from decoupled.registry import Registry


class Optimiser(Protocol):
    """Changes parameters by their gradients."""

    def step(self, pack: Pack, samples: int, rate: float) -> None:
        """One update with the learning rate `rate` and gradients summed over `samples`."""

    def state(self, pack: Pack) -> dict[str, Array]:
        """What it remembers about the pack. The arrays are its own: what is written into them, it will go on from."""


class SGD:
    """Stochastic gradient descent with momentum: v = momentum v + g, w = w - rate v."""

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = momentum
        self._velocity: Array | None = None

    def state(self, pack: Pack) -> dict[str, Array]:
        if self._velocity is None:
            self._velocity = np.zeros_like(pack.values)
        return {"velocity": self._velocity}

    def step(self, pack: Pack, samples: int, rate: float) -> None:
        velocity = self.state(pack)["velocity"]
        scalar = pack.values.dtype.type
        momentum, share, rate_now = scalar(self.momentum), scalar(1 / samples), scalar(rate)
        kernels.sgd(pack.values, pack.gradients, velocity, momentum, share, rate_now)


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1).

    The two bias corrections are folded into the rate and epsilon, as the end of the paper's section 2 does.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, beta1: float = BETA1, beta2: float = BETA2, epsilon: float = EPSILON) -> None:
        self._beta1, self._beta2, self._epsilon = beta1, beta2, epsilon
        self._moments: tuple[Array, Array] | None = None
        self._steps = np.zeros((), np.int64)

    def state(self, pack: Pack) -> dict[str, Array]:
        first, second = self._moments_of(pack)
        return {"first": first, "second": second, "steps": self._steps}

    def _moments_of(self, pack: Pack) -> tuple[Array, Array]:
        if self._moments is None:
            self._moments = np.zeros_like(pack.values), np.zeros_like(pack.values)
        return self._moments

    def step(self, pack: Pack, samples: int, rate: float) -> None:
        moments = self._moments_of(pack)
        self._steps += 1
        steps, dtype = int(self._steps), pack.values.dtype
        decays = np.array([self._beta1, self._beta2], dtype)
        shares = np.array([(1 - self._beta1) / samples, (1 - self._beta2) / samples**2], dtype)
        root2 = math.sqrt(1 - self._beta2**steps)
        rate_now, epsilon = dtype.type(rate * root2 / (1 - self._beta1**steps)), dtype.type(self._epsilon * root2)
        kernels.adam(pack.values, pack.gradients, *moments, decays, shares, rate_now, epsilon)


class NAdam:
    """Adam with Nesterov's look-ahead (Dozat 2016, algorithm 2, and its schedule of the momentum).

    With a momentum of 0.99 the look-ahead makes up for gradients that are some updates old (Ajanthan et al. 2025, arXiv
    2505.01099).
    """

    def __init__(
        self, momentum: float = 0.9, beta2: float = Adam.BETA2, epsilon: float = Adam.EPSILON, momentum_decay: float = 0.004
    ) -> None:
        self._momentum, self._beta2, self._epsilon, self._decay = momentum, beta2, epsilon, momentum_decay
        self._moments: tuple[Array, Array] | None = None
        self._steps = np.zeros((), np.int64)
        self._product = np.ones(())  # of the momenta of all steps

    def state(self, pack: Pack) -> dict[str, Array]:
        first, second = self._moments_of(pack)
        return {"first": first, "second": second, "steps": self._steps, "product": self._product}

    def _moments_of(self, pack: Pack) -> tuple[Array, Array]:
        if self._moments is None:
            self._moments = np.zeros_like(pack.values), np.zeros_like(pack.values)
        return self._moments

    def _momentum_at(self, step: int) -> float:
        """It rises from half of its value to all of it."""
        return self._momentum * (1 - 0.5 * math.pow(0.96, step * self._decay))

    def step(self, pack: Pack, samples: int, rate: float) -> None:
        moments = self._moments_of(pack)
        self._steps += 1
        steps, dtype = int(self._steps), pack.values.dtype
        now, ahead = self._momentum_at(steps), self._momentum_at(steps + 1)
        self._product *= now
        product = float(self._product)
        root2 = math.sqrt(1 - self._beta2**steps)
        decays = np.array([self._momentum, self._beta2], dtype)
        shares = np.array([(1 - self._momentum) / samples, (1 - self._beta2) / samples**2], dtype)
        of_gradient = (1 - now) / (1 - product) / samples
        rates = (rate * root2 * np.array([ahead / (1 - product * ahead), of_gradient])).astype(dtype)
        kernels.nadam(pack.values, pack.gradients, *moments, decays, shares, rates, dtype.type(self._epsilon * root2))


OPTIMISERS = Registry("optimiser", {"adam": Adam, "sgd": SGD, "nadam": NAdam})


@dataclass(frozen=True, slots=True)
class LearningRate:
    """How the learning rate moves over a run of `steps_total` updates.

    It rises in equal steps for `warm_up` updates, and then is constant, falls in a line to 0, or in a half cosine to 0.
    """

    decay: str
    steps_total: int
    warm_up: int = 0

    def factor(self, step: int) -> float:
        """The share of the initial rate to use at update `step` (0 is the first)."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        done = min((step - self.warm_up) / max(self.steps_total - self.warm_up, 1), 1.0)
        match self.decay:
            case "linear":
                return 1 - done
            case "cosine":
                return (1 + math.cos(math.pi * done)) / 2
            case _:
                return 1.0
