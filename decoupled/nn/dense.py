"""The numpy backend of a stage: consecutive layers with one optimiser and, unless it is the last, a head."""

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from decoupled.nn.heads import Head
from decoupled.nn.layers import Layer
from decoupled.nn.losses import Loss
from decoupled.nn.optimisers import LearningRate, Optimiser
from decoupled.nn.parameters import Array, pack
from decoupled.nn.stage import LossResult, Pass, Quality, Weights
from decoupled.tensors import Tensors, TensorSpec


class Version:
    """The weights between two updates. They are copied here when newer ones take their place while a pass needs them."""

    __slots__ = ("__weakref__", "values")

    def __init__(self) -> None:
        self.values: Array | None = None  # None while they are the stage's own


@dataclass(slots=True, eq=False)
class Caches:
    """What each layer keeps of a pass, and the weights to go back with; None: those of the moment."""

    of_layers: list[Any]
    version: Version | None


class DenseStage:
    """A Stage over layers that take and give one array.

    A pass goes back with the weights of the moment, or with those that it went forward with.
    """

    def __init__(
        self,
        inputs: TensorSpec,
        outputs: TensorSpec,
        layers: list[Layer],
        optimiser: Optimiser,
        rate: float,
        learning_rate: LearningRate,
        loss: Loss,
        head: Head | None = None,
        weights: Weights = Weights.CURRENT,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.layers, self.head, self._loss = layers, head, loss
        self.version = 0
        self._optimiser, self._rate, self._learning_rate = optimiser, rate, learning_rate
        self._pack = pack(p for layer in layers for p in layer.parameters)
        self._earlier = np.empty(0)  # the sum of the gradients of all backward passes since the update but the last
        self._passes_back = 0  # since the update
        self._weights = weights
        self._newest: weakref.ref[Version] | None = None  # while a pass needs it

    def forward(self, x: Tensors, training: bool = True) -> Pass:
        (flowing,), caches = x, []
        for layer in self.layers:
            flowing, cache = layer.forward(flowing, training)
            caches.append(cache)
        return Pass((flowing,), Caches(caches, self._version() if training else None))

    def _version(self) -> Version | None:
        """The weights of the moment, which live as long as a pass needs them."""
        if self._weights is Weights.CURRENT:
            return None
        version = self._needed() or Version()
        self._newest = weakref.ref(version)
        return version

    def _needed(self) -> Version | None:
        """The version of the moment, if a pass needs it."""
        return None if self._newest is None else self._newest()

    def loss(self, passed: Pass, targets: Tensors) -> LossResult:
        (outputs,), (wanted,) = passed.outputs, targets
        value, gradient = self._loss.value_and_gradient(outputs, wanted)
        return LossResult(value, (gradient,), self._loss.correct(outputs, wanted), len(wanted))

    def synthesize(self, passed: Pass, targets: Tensors) -> Tensors:
        assert self.head is not None, "the last stage has the true gradient and no head"
        return (self.head.synthesize(*passed.outputs, *targets),)

    def backward(self, passed: Pass, gradients: Tensors, want_dx: bool, keep: bool = False) -> Tensors | None:
        self._set_aside()
        caches: Caches = passed.saved
        version = caches.version
        if not keep:
            caches.version = None
        if version is None or version.values is None:
            return self._back(caches.of_layers, gradients, want_dx)
        with self._pack.with_values(version.values):
            return self._back(caches.of_layers, gradients, want_dx)

    def _back(self, caches: list[Any], gradients: Tensors, want_dx: bool) -> Tensors | None:
        flowing: Array | None
        (flowing,) = gradients
        for depth in reversed(range(len(self.layers))):
            assert flowing is not None
            wanted = want_dx or any(layer.parameters for layer in self.layers[:depth])
            flowing = self.layers[depth].backward(flowing, caches[depth], wanted)
            if not wanted:
                return None
        assert flowing is not None
        return (flowing,)

    def _set_aside(self) -> None:
        """Saves the gradients of the backward pass before, which the next one overwrites; one alone costs nothing."""
        if self._passes_back == 1:
            if self._earlier.size != self._pack.gradients.size:
                self._earlier = np.empty_like(self._pack.gradients)
            np.copyto(self._earlier, self._pack.gradients)
        elif self._passes_back > 1:
            self._earlier += self._pack.gradients
        self._passes_back += 1

    def step(self, samples: int) -> None:
        if self._passes_back > 1:
            np.add(self._pack.gradients, self._earlier, out=self._pack.gradients)
        self._passes_back = 0
        if (needed := self._needed()) is not None:
            needed.values = self._pack.values.copy()
        self._newest = None
        decay = self._learning_rate.factor(self.version)
        self._optimiser.step(self._pack, samples, self._rate * decay)
        if self.head is not None:
            self.head.update(samples, decay)
        self.version += 1

    def refine(self, passed: Pass, targets: Tensors, gradients: Tensors) -> Quality:
        assert self.head is not None, "the last stage has the true gradient and no head"
        decay = self._learning_rate.factor(self.version)
        (h,), (wanted,), (returned,) = passed.outputs, targets, gradients
        return Quality.of((self.head.refine(h, wanted, returned, decay),), gradients)

    def published(self) -> Tensors:
        return ()

    def adopt(self, published: Tensors) -> None:
        if published:
            raise ValueError("no head of this network reads what the last stage has learnt")

    def model_state(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in self._named().items()}

    def state_dict(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in self._alive().items()} | {"updates": np.array(self.version)}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        alive = self._alive() | {"updates": np.array(0)}
        if alive.keys() != state.keys():
            odd = sorted(alive.keys() ^ state.keys())[0]
            raise ValueError(f"{odd} is in only one of the two")
        for name, value in alive.items():
            if (value.shape, value.dtype) != (state[name].shape, state[name].dtype):
                there = f"{state[name].dtype} {state[name].shape}"
                raise ValueError(f"{name} is {there} there and {value.dtype} {value.shape} here")
        for name, value in alive.items():
            value[...] = state[name]
        self.version = int(state["updates"])

    def _named(self) -> dict[str, Array]:
        named = {p.name: p.value for layer in self.layers for p in layer.parameters}
        for layer in self.layers:
            named |= layer.state
        return named

    def _alive(self) -> dict[str, Array]:
        """The arrays themselves, not copies."""
        remembered = {f"optimiser.{name}": value for name, value in self._optimiser.state(self._pack).items()}
        return self._named() | remembered | (self.head.state if self.head is not None else {})
