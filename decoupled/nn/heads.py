"""Heads: small models beside a stage that predict the gradient of its output, the synthetic gradient.

Decoupled Neural Interfaces (Jaderberg et al. 2016, arXiv 1608.05343), section 2. A head lives in its stage's process. It
predicts at once (`synthesize`), learns when the downstream stage's gradient has come back (`refine`), and starts silent:
its output layer is zero, so an untrained head moves nothing. All gradients here are per sample.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Protocol

import numpy as np
from pydantic import Field

from decoupled.nn.losses import Loss
from decoupled.nn.optimisers import Adam
from decoupled.nn.parameters import Array, Pack, Parameter, pack
from decoupled.registry import Registry


@dataclass(frozen=True, slots=True, eq=False)
class HeadSite:
    """Where a head sits, and what it may be built from."""

    inputs: int  # H: width of the stage's output
    outputs: int  # C: width of the network's output
    loss: Loss  # the network's
    rate: float  # its learning rate, before decay
    rng: np.random.Generator  # the same for a seed
    dtype: type  # that the network computes in


class Head(Protocol):
    """Predicts the gradient of a stage's output h (B x H), given the targets that travel with it."""

    @property
    def work(self) -> tuple[int, int]:
        """Multiplications for each sample, to synthesize (and learn from that) and to refine."""

    @property
    def state(self) -> dict[str, Array]:
        """All that it has learnt. The arrays are its own: what is written into them, it will go on from."""

    def synthesize(self, h: Array, targets: Array) -> Array:
        """The synthetic gradient, B x H."""

    def update(self, samples: int, decay: float) -> None:
        """Learns from what the last `synthesize` showed, where this head can; `decay` scales its learning rate."""

    def refine(self, h: Array, targets: Array, gradient: Array, decay: float) -> Array:
        """Learns from the gradient that came back for h; gives the synthetic gradient it would have used, for measures."""


class Readout:
    """Predicts the network's output from h and takes that small loss's gradient as the synthetic gradient.

    For a loss with its own link function the true gradient of any stage has the form (p - y) times something. Directly:
    e = link(h A + c) - y and g = e A^T. Through a narrow ReLU layer of R units: u = relu(h U + b), e = link(u A + c) - y,
    q = (e A^T) * (u > 0), g = q U^T. Every microbatch trains the head by its own loss. Where a gradient came back, the
    same step also descends `feedback_weight` times |g - returned|^2 / 2, on the matrix that g ends with (A, or U).
    """

    def __init__(
        self,
        site: HeadSite,
        width: Annotated[int, Field(ge=0, le=65_536)] = 32,
        feedback_weight: Annotated[float, Field(ge=0)] = 4.0,
    ) -> None:
        inputs, outputs, dtype, rng = site.inputs, site.outputs, site.dtype, site.rng
        self._loss, self._rate, self._feedback_weight = site.loss, site.rate, feedback_weight
        self._narrow: tuple[Parameter, Parameter] | None = None
        if width:
            first = rng.standard_normal((inputs, width)) * np.sqrt(2 / inputs)
            self._narrow = (
                Parameter.of("head.narrow.weight", first.astype(dtype)),
                Parameter.of("head.narrow.bias", np.zeros(width, dtype)),
            )
        self._weight = Parameter.of("head.weight", np.zeros((width or inputs, outputs), dtype))
        self._bias = Parameter.of("head.bias", np.zeros(outputs, dtype))
        parameters = [*(self._narrow or ()), self._weight, self._bias]
        self._pack: Pack = pack(parameters)
        self._last = self._narrow[0] if self._narrow else self._weight  # the matrix that g ends with
        self._adam = Adam()
        self._has_seen = False  # a microbatch whose own loss has not been learnt from yet
        self.state = _state(parameters, self._adam, self._pack)

    @property
    def work(self) -> tuple[int, int]:
        thin, last = self._weight.value.size, self._last.value.size
        synthesize = 3 * thin + (3 * last if self._narrow is not None else 0)
        return synthesize, synthesize + last

    def read(self, h: Array) -> tuple[Array, Array]:
        """u (h itself where there is no narrow layer), and the head's reading of the network's output, B x C."""
        u = h
        if self._narrow is not None:
            u = h @ self._narrow[0].value
            u += self._narrow[1].value
            np.maximum(u, 0, out=u)
        return u, u @ self._weight.value + self._bias.value

    def _learn(self, h: Array, targets: Array) -> Array:
        """Sets the gradients of the head's own loss; gives q (e where there is no narrow layer)."""
        u, reading = self.read(h)
        error = self._loss.value_and_gradient(reading, targets)[1]
        np.matmul(u.T, error, out=self._weight.gradient)
        np.sum(error, axis=0, out=self._bias.gradient)
        if self._narrow is None:
            return error
        q = error @ self._weight.value.T
        q *= u > 0
        np.matmul(h.T, q, out=self._narrow[0].gradient)
        np.sum(q, axis=0, out=self._narrow[1].gradient)
        return q

    def synthesize(self, h: Array, targets: Array) -> Array:
        self._has_seen = True
        return np.asarray(self._learn(h, targets) @ self._last.value.T)

    def update(self, samples: int, decay: float) -> None:
        if self._has_seen:
            self._adam.step(self._pack, samples, self._rate * decay)
            self._has_seen = False

    def refine(self, h: Array, targets: Array, gradient: Array, decay: float) -> Array:
        q = self._learn(h, targets)
        synthetic = q @ self._last.value.T
        self._last.gradient += self._feedback_weight * ((synthetic - gradient).T @ q)
        self._adam.step(self._pack, len(h), self._rate * decay)
        return np.asarray(synthetic)


class _Scale:
    """A running root mean square of the returned gradients, so that a regression sees targets of size one."""

    MOMENTUM = 0.05

    def __init__(self) -> None:
        self.square = np.zeros(())

    def follow(self, gradient: Array) -> float:
        """Takes in a gradient; gives the scale with it."""
        square = float(np.vdot(gradient, gradient)) / gradient.size
        self.square += (self.MOMENTUM if self.square else 1.0) * (square - self.square)
        return self.value

    @property
    def value(self) -> float:
        return float(np.sqrt(self.square)) or 1.0


def _state(parameters: list[Parameter], adam: Adam, packed: Pack, scale: _Scale | None = None) -> dict[str, Array]:
    """A head's arrays by name."""
    learnt = {p.name: p.value for p in parameters} | {f"head.optimiser.{k}": v for k, v in adam.state(packed).items()}
    return learnt if scale is None else learnt | {"head.scale": scale.square}


class Linear:
    """g = s ([h, y] M + c), fitted to the returned gradient over s, its running scale.

    Without the label it is the linear head of the paper's section 3.1; with it, cDNI.
    """

    def __init__(self, site: HeadSite, sees_label: bool) -> None:
        self._loss, self._outputs, self._sees_label, self._rate = site.loss, site.outputs, sees_label, site.rate
        features = site.inputs + site.outputs * sees_label
        self._weight = Parameter.of("head.weight", np.zeros((features, site.inputs), site.dtype))
        self._bias = Parameter.of("head.bias", np.zeros(site.inputs, site.dtype))
        self._pack = pack([self._weight, self._bias])
        self._scale, self._adam = _Scale(), Adam()
        self.state = _state([self._weight, self._bias], self._adam, self._pack, self._scale)

    @property
    def work(self) -> tuple[int, int]:
        return self._weight.value.size, 2 * self._weight.value.size

    def _features(self, h: Array, targets: Array) -> Array:
        return np.concatenate([h, self._loss.encode(targets, self._outputs)], axis=1, dtype=h.dtype) if self._sees_label else h

    def synthesize(self, h: Array, targets: Array) -> Array:
        return (self._features(h, targets) @ self._weight.value + self._bias.value) * self._scale.value

    def update(self, samples: int, decay: float) -> None:
        """Nothing: a linear head learns from returned gradients alone."""

    def refine(self, h: Array, targets: Array, gradient: Array, decay: float) -> Array:
        scale = self._scale.follow(gradient)
        features = self._features(h, targets)
        predicted = features @ self._weight.value + self._bias.value
        error = predicted - gradient / scale
        np.matmul(features.T, error, out=self._weight.gradient)
        np.sum(error, axis=0, out=self._bias.gradient)
        self._adam.step(self._pack, len(h), self._rate * decay)
        return np.asarray(predicted * scale)


class MLP:
    """g = s (relu([h, y] U + b) M + c): the paper's head with one hidden layer (appendix C.1), R units wide."""

    def __init__(self, site: HeadSite, hidden: Annotated[int, Field(ge=1, le=65_536)] = 1024) -> None:
        inputs, outputs, dtype = site.inputs, site.outputs, site.dtype
        self._loss, self._outputs, self._rate = site.loss, outputs, site.rate
        first = site.rng.standard_normal((inputs + outputs, hidden)) * np.sqrt(2 / (inputs + outputs))
        self._hidden = Parameter.of("head.hidden.weight", first.astype(dtype))
        self._hidden_bias = Parameter.of("head.hidden.bias", np.zeros(hidden, dtype))
        self._weight = Parameter.of("head.weight", np.zeros((hidden, inputs), dtype))
        self._bias = Parameter.of("head.bias", np.zeros(inputs, dtype))
        parameters = [self._hidden, self._hidden_bias, self._weight, self._bias]
        self._pack = pack(parameters)
        self._scale, self._adam = _Scale(), Adam()
        self.state = _state(parameters, self._adam, self._pack, self._scale)

    @property
    def work(self) -> tuple[int, int]:
        first, last = self._hidden.value.size, self._weight.value.size
        return first + last, 2 * first + 3 * last

    def _forward(self, h: Array, targets: Array) -> tuple[Array, Array, Array]:
        features = np.concatenate([h, self._loss.encode(targets, self._outputs)], axis=1, dtype=h.dtype)
        u = features @ self._hidden.value
        u += self._hidden_bias.value
        np.maximum(u, 0, out=u)
        return features, u, u @ self._weight.value + self._bias.value

    def synthesize(self, h: Array, targets: Array) -> Array:
        return self._forward(h, targets)[2] * self._scale.value

    def update(self, samples: int, decay: float) -> None:
        """Nothing: this head learns from returned gradients alone."""

    def refine(self, h: Array, targets: Array, gradient: Array, decay: float) -> Array:
        scale = self._scale.follow(gradient)
        features, u, predicted = self._forward(h, targets)
        error = predicted - gradient / scale
        np.matmul(u.T, error, out=self._weight.gradient)
        np.sum(error, axis=0, out=self._bias.gradient)
        back = error @ self._weight.value.T
        back *= u > 0
        np.matmul(features.T, back, out=self._hidden.gradient)
        np.sum(back, axis=0, out=self._hidden_bias.gradient)
        self._adam.step(self._pack, len(h), self._rate * decay)
        return np.asarray(predicted * scale)


HEADS = Registry(
    "head",
    {
        "readout": Readout,
        "linear": partial(Linear, sees_label=False),
        "linear-label": partial(Linear, sees_label=True),
        "mlp-label": MLP,
    },
)
