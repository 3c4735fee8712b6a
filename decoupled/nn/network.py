"""Networks: from an architecture to seeded layers, to a partition into stages, to a trained network that answers."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from decoupled.nn.layers import ACTIVATIONS, BatchNorm, BatchNormReLU, Dense, Layer, ReLU, Standardize
from decoupled.nn.losses import LOSSES, Loss
from decoupled.nn.parameters import Array


@dataclass(frozen=True, slots=True)
class Architecture:
    """A fully connected network: `widths` are its inputs, hidden layers and outputs; layer i maps width i to i + 1."""

    widths: tuple[int, ...]
    activation: str = "relu"
    batch_norm: bool = True
    loss: str = "softmax"
    dtype: str = "float32"

    @property
    def layers(self) -> int:
        return len(self.widths) - 1

    def weights(self, index: int) -> int:
        """How many weights layer `index` has: a measure of its work."""
        return self.widths[index] * self.widths[index + 1]


def build_layer(architecture: Architecture, index: int, seed: int) -> list[Layer]:
    """Layer `index` with its initial weights: the same for a seed, however the network is cut into stages.

    He's initialisation (2015, arXiv 1502.01852, eq. 10) before a ReLU, LeCun's (1998) elsewhere.
    """
    inputs, outputs = architecture.widths[index : index + 2]
    dtype = np.dtype(architecture.dtype).type
    hidden = index < architecture.layers - 1
    activation = ACTIVATIONS[architecture.activation if hidden else "identity"]()
    gain = 2 if isinstance(activation, ReLU) else 1
    draw = np.random.default_rng([seed, index]).standard_normal((inputs, outputs))
    weight = (draw * np.sqrt(gain / inputs)).astype(dtype)
    name = f"layer{index}"
    if hidden and architecture.batch_norm and isinstance(activation, ReLU):
        return [Dense(name, weight), BatchNormReLU(f"{name}.norm", outputs, dtype)]
    if hidden and architecture.batch_norm:
        return [Dense(name, weight), BatchNorm(f"{name}.norm", outputs, dtype), activation]
    return [Dense(name, weight, np.zeros(outputs, dtype)), activation]


def partition(architecture: Architecture, workers: int) -> tuple[tuple[int, ...], ...]:
    """Cuts the layers into `workers` consecutive blocks so that the heaviest block is as light as can be.

    Raises ValueError when there are more workers than layers.
    """
    count = architecture.layers
    if not 1 <= workers <= count:
        raise ValueError(f"{workers} workers cannot share {count} layers: give between 1 and {count} workers.")

    @cache
    def best(start: int, blocks: int) -> tuple[int, tuple[int, ...]]:
        """The heaviest block's weights, and the starts of the blocks, for the layers from `start` on."""
        if blocks == 1:
            return sum(map(architecture.weights, range(start, count))), (start,)
        options = []
        for stop in range(start + 1, count - blocks + 2):
            rest, starts = best(stop, blocks - 1)
            options.append((max(sum(map(architecture.weights, range(start, stop))), rest), (start, *starts)))
        return min(options)

    starts = (*best(0, workers)[1], count)
    return tuple(tuple(range(a, b)) for a, b in pairwise(starts))


class Network:
    """A trained network in evaluation mode: arrays in, answers out, no workers."""

    BATCH = 1024  # rows at a time, to bound memory

    def __init__(self, architecture: Architecture, arrays: dict[str, Array]) -> None:
        """Raises ValueError when `arrays` are not those of the architecture."""
        self.architecture = architecture
        self.loss: Loss = LOSSES[architecture.loss]()
        self.arrays = dict(arrays)
        self._layers = _restore(architecture, self.arrays)

    def outputs(self, x: Array) -> Array:
        """The network's raw outputs (logits or values), N x C, for raw inputs, N x D (further dimensions are flattened)."""
        x = np.asarray(x)
        x = x.reshape(len(x), -1) if x.ndim > 2 else x
        if x.ndim != 2 or x.shape[1] != self.architecture.widths[0]:
            raise ValueError(f"the network takes inputs of shape (N, {self.architecture.widths[0]}), not {x.shape}.")
        parts = [self._forward(x[start : start + self.BATCH]) for start in range(0, len(x), self.BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.architecture.widths[-1]), self.architecture.dtype)

    def _forward(self, x: Array) -> Array:
        for layer in self._layers:
            x, _ = layer.forward(x, training=False)
        return x

    def predict(self, x: Array) -> Array:
        """The answers for raw inputs: class numbers (N), bits (N x C) or values (N x C)."""
        return self.loss.predict(self.outputs(x))

    def evaluate(self, x: Array, y: Array) -> tuple[float, float | None]:
        """The mean loss, and the share of wholly right answers where that means something."""
        outputs = self.outputs(x)
        correct = self.loss.correct(outputs, y)
        return self.loss.value_and_gradient(outputs, y)[0], None if correct is None else correct / len(x)


def _restore(architecture: Architecture, arrays: dict[str, Array]) -> list[Layer]:
    """Layers that hold `arrays`; every array must fit, and none may be left over or missing."""
    layers: list[Layer] = []
    if {"input.mean", "input.deviation"} <= arrays.keys():
        layers.append(Standardize(arrays["input.mean"].copy(), arrays["input.deviation"].copy()))
    for index in range(architecture.layers):
        layers += build_layer(architecture, index, seed=0)
    targets: dict[str, Any] = {name: value for layer in layers for name, value in layer.state.items()}
    targets |= {p.name: p.value for layer in layers for p in layer.parameters}
    if targets.keys() != arrays.keys():
        raise ValueError(f"the arrays are not those of this network: {sorted(targets.keys() ^ arrays.keys())} differ.")
    for name, target in targets.items():
        if target.shape != arrays[name].shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, but the network needs {target.shape}.")
        target[...] = arrays[name]
    return layers
