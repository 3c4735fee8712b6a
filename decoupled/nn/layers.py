"""Layers: each maps x to y and a cache, and later the gradient of y to its parameters' gradients and the gradient of x.

The cache is handed out rather than kept, so any number of microbatches may be in flight. Nothing in a cache is ever
written again, and a backward pass uses the weights as they are when it is called.
"""

from typing import Any, Protocol

import numpy as np

from decoupled.nn import kernels
from decoupled.nn.parameters import Array, Parameter
from decoupled.registry import Registry


class Layer(Protocol):
    """One step of a network. `state` holds arrays that belong to the model and are not trained."""

    @property
    def parameters(self) -> list[Parameter]: ...
    @property
    def state(self) -> dict[str, Array]: ...
    def forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        """y and what the backward pass will need."""

    def backward(self, dy: Array, cache: Any, want_dx: bool) -> Array | None:
        """Sets the parameters' gradients; gives the gradient of x where it is wanted."""


class _Plain:
    """A layer without parameters or state."""

    parameters: list[Parameter] = []
    state: dict[str, Array] = {}


class Dense:
    """y = x W + b, with W of D x H; b is left out where a batch norm follows, which would cancel it."""

    def __init__(self, name: str, weight: Array, bias: Array | None = None) -> None:
        self.weight = Parameter.of(f"{name}.weight", weight)
        self.bias = None if bias is None else Parameter.of(f"{name}.bias", bias)
        self.parameters = [self.weight] if self.bias is None else [self.weight, self.bias]
        self.state: dict[str, Array] = {}

    def forward(self, x: Array, training: bool) -> tuple[Array, Array]:
        y = x @ self.weight.value
        if self.bias is not None:
            y += self.bias.value
        return y, x

    def backward(self, dy: Array, cache: Array, want_dx: bool) -> Array | None:
        np.matmul(cache.T, dy, out=self.weight.gradient)
        if self.bias is not None:
            np.sum(dy, axis=0, out=self.bias.gradient)
        return dy @ self.weight.value.T if want_dx else None


class BatchNorm:
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2).

    In training it normalises by the microbatch and moves the running statistics once; in evaluation it uses them.
    """

    EPSILON = 1e-5
    MOMENTUM = 0.1  # weight of the newest microbatch in the running statistics

    def __init__(self, name: str, features: int, dtype: Any) -> None:
        self.scale = Parameter.of(f"{name}.scale", np.ones(features, dtype))
        self.shift = Parameter.of(f"{name}.shift", np.zeros(features, dtype))
        self.parameters = [self.scale, self.shift]
        self.mean = np.zeros(features, dtype)
        self.variance = np.ones(features, dtype)
        self.state = {f"{name}.mean": self.mean, f"{name}.variance": self.variance}

    def forward(self, x: Array, training: bool) -> tuple[Array, tuple[Array, Array] | None]:
        if not training:
            factor = self.scale.value / np.sqrt(self.variance + self.EPSILON)
            return x * factor + (self.shift.value - self.mean * factor), None
        mean = x.mean(axis=0)
        normal = x - mean
        variance = np.einsum("bh,bh->h", normal, normal) / len(x)
        self._follow(mean, variance, len(x))
        inverse = 1 / np.sqrt(variance + self.EPSILON)
        normal *= inverse
        y = normal * self.scale.value
        y += self.shift.value
        return y, (normal, inverse)

    def _follow(self, mean: Array, variance: Array, samples: int) -> None:
        unbiased = variance * (samples / max(samples - 1, 1))
        self.mean += self.MOMENTUM * (mean - self.mean)
        self.variance += self.MOMENTUM * (unbiased - self.variance)

    def backward(self, dy: Array, cache: Any, want_dx: bool) -> Array | None:
        normal, inverse = cache
        np.einsum("bh,bh->h", dy, normal, out=self.scale.gradient)
        np.sum(dy, axis=0, out=self.shift.gradient)
        if not want_dx:
            return None
        dx: Array = normal * (self.scale.gradient / -len(dy))
        dx += dy
        dx -= self.shift.gradient / len(dy)
        dx *= self.scale.value * inverse
        return dx


class BatchNormReLU(BatchNorm):
    """Batch norm and the ReLU after it as one layer, each way in two sweeps over memory."""

    def forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        y = np.empty_like(x)
        if not training:
            factor = self.scale.value / np.sqrt(self.variance + self.EPSILON)
            kernels.scale_relu(x, factor, self.shift.value - self.mean * factor, y)
            return y, None
        mean, variance = np.empty((2, x.shape[1]), x.dtype)
        kernels.moments(x, mean, variance)
        self._follow(mean, variance, len(x))
        inverse = 1 / np.sqrt(variance + self.EPSILON)
        factor = self.scale.value * inverse
        kernels.scale_relu(x, factor, self.shift.value - mean * factor, y)
        return y, (x, y, mean, inverse)

    def backward(self, dy: Array, cache: Any, want_dx: bool) -> Array | None:
        x, y, mean, inverse = cache
        d_scale, d_shift = self.scale.gradient, self.shift.gradient
        kernels.norm_relu_sums(dy, y, x, mean, inverse, d_scale, d_shift)
        if not want_dx:
            return None
        dx: Array = np.empty_like(x)
        share = x.dtype.type(1 / len(x))
        kernels.norm_relu_back(dy, y, x, mean, inverse, self.scale.value, d_scale, d_shift, share, dx)
        return dx


class ReLU(_Plain):
    """y = max(x, 0); its derivative at 0 is 0."""

    def forward(self, x: Array, training: bool) -> tuple[Array, Array]:
        y = np.maximum(x, 0)
        return y, y

    def backward(self, dy: Array, cache: Array, want_dx: bool) -> Array | None:
        return np.multiply(dy, cache > 0) if want_dx else None


class Sigmoid(_Plain):
    """y = 1 / (1 + exp(-x))."""

    def forward(self, x: Array, training: bool) -> tuple[Array, Array]:
        y = sigmoid(x)
        return y, y

    def backward(self, dy: Array, cache: Array, want_dx: bool) -> Array | None:
        return dy * cache * (1 - cache) if want_dx else None


class Tanh(_Plain):
    """y = tanh(x)."""

    def forward(self, x: Array, training: bool) -> tuple[Array, Array]:
        y = np.tanh(x)
        return y, y

    def backward(self, dy: Array, cache: Array, want_dx: bool) -> Array | None:
        return dy * (1 - cache * cache) if want_dx else None


class Identity(_Plain):
    """y = x."""

    def forward(self, x: Array, training: bool) -> tuple[Array, None]:
        return x, None

    def backward(self, dy: Array, cache: None, want_dx: bool) -> Array | None:
        return dy if want_dx else None


class Standardize(_Plain):
    """y = (x - mean) / deviation, the same constants for ever; it also turns whole numbers into floats.

    It sits before the first layer, so that inputs travel as the bytes they were stored as and a trained network takes
    raw inputs.
    """

    def __init__(self, mean: Array, deviation: Array) -> None:
        self.state = {"input.mean": mean, "input.deviation": deviation}

    def forward(self, x: Array, training: bool) -> tuple[Array, None]:
        mean, deviation = self.state["input.mean"], self.state["input.deviation"]
        y = np.empty(x.shape, mean.dtype)
        factor = np.resize(1 / deviation, x.shape[1])
        kernels.scale(x, factor, np.resize(-mean / deviation, x.shape[1]), y)
        return y, None

    def backward(self, dy: Array, cache: None, want_dx: bool) -> Array | None:
        return dy / self.state["input.deviation"] if want_dx else None


ACTIVATIONS = Registry("activation", {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh, "identity": Identity})


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), element by element; exp may overflow to infinity, which gives the right 0."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))
