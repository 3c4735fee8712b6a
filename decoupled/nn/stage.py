"""A stage: consecutive layers with one optimiser and, unless it is the last, a head. It is what one worker trains."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from decoupled.nn.heads import Head
from decoupled.nn.layers import Layer
from decoupled.nn.losses import Loss
from decoupled.nn.optimisers import LearningRate, Optimiser
from decoupled.nn.parameters import Array, pack


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What a forward pass leaves behind: the stage's output and each layer's cache."""

    output: Array
    caches: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a synthetic gradient matched the gradient that came back."""

    cosine: float
    norm_ratio: float  # of the synthetic gradient to the returned one
    relative_error: float  # norm of their difference over the norm of the returned one

    @classmethod
    def of(cls, synthetic: Array, returned: Array) -> "Quality":
        norm2, dot, target2 = (float(np.vdot(*pair)) for pair in ((synthetic,) * 2, (synthetic, returned), (returned,) * 2))
        if target2 == 0:
            return cls(0.0, 0.0, 0.0)
        norm, target = norm2**0.5, target2**0.5
        apart = max(norm2 - 2 * dot + target2, 0.0) ** 0.5
        return cls(dot / (norm * target) if norm else 0.0, norm / target, apart / target)


class StageLike(Protocol):
    """What a worker asks of its stage, whether it computes or, on an emulated device, waits."""

    @property
    def loss(self) -> Loss: ...

    weight_version: int

    def forward(self, x: Array, training: bool = True) -> Pass: ...
    def synthesize(self, passed: Pass, targets: Array) -> Array: ...
    def backward(self, passed: Pass, gradient: Array, want_dx: bool) -> Array | None: ...
    def update(self, samples: int) -> None: ...
    def refine(self, passed: Pass, targets: Array, gradient: Array) -> Quality: ...
    def arrays(self) -> dict[str, Array]: ...
    def state(self) -> dict[str, Array]: ...
    def restore(self, saved: dict[str, Array]) -> None: ...


class Stage:
    """Forward, backward, update and refine over a block of layers, for any number of microbatches in flight."""

    def __init__(
        self,
        layers: list[Layer],
        optimiser: Optimiser,
        rate: float,
        learning_rate: LearningRate,
        loss: Loss,
        head: Head | None = None,
    ) -> None:
        self.layers, self.loss, self.head = layers, loss, head
        self.weight_version = 0  # updates made so far
        self._optimiser, self._rate, self._learning_rate = optimiser, rate, learning_rate
        self._pack = pack(p for layer in layers for p in layer.parameters)
        self._earlier = np.empty(0)  # the sum of the gradients of all backward passes since the update but the last
        self._passes_back = 0  # since the update

    def forward(self, x: Array, training: bool = True) -> Pass:
        """The pass of x (B x D) through the layers; batch norm uses, and follows, the microbatch only in training."""
        caches = []
        for layer in self.layers:
            x, cache = layer.forward(x, training)
            caches.append(cache)
        return Pass(x, tuple(caches))

    def synthesize(self, passed: Pass, targets: Array) -> Array:
        """The head's guess of the gradient of this pass's output (per sample, B x H)."""
        assert self.head is not None, "the last stage has the true gradient and no head"
        return self.head.synthesize(passed.output, targets)

    def backward(self, passed: Pass, gradient: Array, want_dx: bool) -> Array | None:
        """The parameters' gradients, with the weights as they are now; gives the input's gradient if wanted.

        Several backward passes before an update add up.
        """
        self._set_aside()
        flowing: Array | None = gradient
        for depth in reversed(range(len(self.layers))):
            assert flowing is not None
            wanted = want_dx or any(layer.parameters for layer in self.layers[:depth])
            flowing = self.layers[depth].backward(flowing, passed.caches[depth], wanted)
            if not wanted:
                return None
        return flowing

    def _set_aside(self) -> None:
        """Saves the gradients of the backward pass before, which the next one overwrites; one alone costs nothing."""
        if self._passes_back == 1:
            if self._earlier.size != self._pack.gradients.size:
                self._earlier = np.empty_like(self._pack.gradients)
            np.copyto(self._earlier, self._pack.gradients)
        elif self._passes_back > 1:
            self._earlier += self._pack.gradients
        self._passes_back += 1

    def update(self, samples: int) -> None:
        """The optimiser's step on the layers with the gradients since the last, which are of `samples` in all.

        The head makes its own step on what it saw of its own loss.
        """
        if self._passes_back > 1:
            np.add(self._pack.gradients, self._earlier, out=self._pack.gradients)
        self._passes_back = 0
        decay = self._learning_rate.factor(self.weight_version)
        self._optimiser.step(self._pack, samples, self._rate * decay)
        if self.head is not None:
            self.head.update(samples, decay)
        self.weight_version += 1

    def refine(self, passed: Pass, targets: Array, gradient: Array) -> Quality:
        """Fits the head to the gradient that the downstream stage sent back for this pass."""
        assert self.head is not None, "the last stage has the true gradient and no head"
        decay = self._learning_rate.factor(self.weight_version)
        return Quality.of(self.head.refine(passed.output, targets, gradient, decay), gradient)

    def arrays(self) -> dict[str, Array]:
        """Copies of all that evaluation needs, by name: parameters and running statistics."""
        return {name: value.copy() for name, value in self._named().items()}

    def state(self) -> dict[str, Array]:
        """Copies of all that training goes on from, by name: also the optimiser's and the head's."""
        return {name: value.copy() for name, value in self._alive().items()} | {"updates": np.array(self.weight_version)}

    def restore(self, saved: dict[str, Array]) -> None:
        """Goes on from a state. Raises ValueError, before anything has changed, when it is not that of such a stage."""
        alive = self._alive() | {"updates": np.array(0)}
        if alive.keys() != saved.keys():
            odd = sorted(alive.keys() ^ saved.keys())[0]
            raise ValueError(f"{odd} is in only one of the two")
        for name, value in alive.items():
            if (value.shape, value.dtype) != (saved[name].shape, saved[name].dtype):
                there = f"{saved[name].dtype} {saved[name].shape}"
                raise ValueError(f"{name} is {there} there and {value.dtype} {value.shape} here")
        for name, value in alive.items():
            value[...] = saved[name]
        self.weight_version = int(saved["updates"])

    def _named(self) -> dict[str, Array]:
        named = {p.name: p.value for layer in self.layers for p in layer.parameters}
        for layer in self.layers:
            named |= layer.state
        return named

    def _alive(self) -> dict[str, Array]:
        """The arrays themselves, not copies."""
        remembered = {f"optimiser.{name}": value for name, value in self._optimiser.state(self._pack).items()}
        return self._named() | remembered | (self.head.state if self.head is not None else {})
