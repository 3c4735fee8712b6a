"""A model as a user would write one: sequences of any length with a mask beside them, so that two arrays flow, one of them 3-D.

Layer i maps h (N x any x width) to tanh(h W); the last one averages over what the mask leaves, and maps that to class logits.
"""

from typing import Any

import numpy as np

from decoupled.nn.model import ModelSite, Stages, Training
from decoupled.nn.scores import Score
from decoupled.nn.stage import LossResult, Pass, Quality
from decoupled.nn.targets import Targets
from decoupled.tensors import Array, ArraySpec, Tensors, TensorSpec


class ToyStage:
    """Layers `first` to the last of `weights`, whose optimiser is plain gradient descent."""

    def __init__(self, first: int, weights: list[Array], is_last: bool, inputs: TensorSpec, outputs: TensorSpec, rate: float):
        self.inputs, self.outputs, self.version = inputs, outputs, 0
        self._first, self._weights, self._is_last, self._rate = first, weights, is_last, rate
        self._gradients = [np.zeros_like(weight) for weight in weights]
        self.adopted: Tensors = ()
        self._guess = np.zeros((3, weights[-1].shape[1]))  # the head: of each class, the mean gradient that came back

    def forward(self, x: Tensors, training: bool = True) -> Pass:
        flowing, mask = x if len(x) > 1 else (x[0], np.any(x[0] != 0, axis=2))
        saved = list[tuple[Array, Array]]()
        for weight in self._weights[: len(self._weights) - self._is_last]:
            saved.append((flowing, np.tanh(flowing @ weight)))
            flowing = saved[-1][1]
        if not self._is_last:
            return Pass((flowing, mask), (saved, mask))
        share = mask[..., None] / np.maximum(mask.sum(axis=1), 1)[:, None, None]
        pooled = (flowing * share).sum(axis=1)
        return Pass((pooled @ self._weights[-1],), (saved, pooled, share))

    def loss(self, passed: Pass, targets: Tensors) -> LossResult:
        (z,), (y,) = passed.outputs, targets
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        rows = np.arange(len(y))
        return LossResult(float(-np.log(p[rows, y]).mean()), (p - np.eye(3)[y],), int((p.argmax(axis=1) == y).sum()), len(y))

    def backward(self, passed: Pass, gradients: Tensors, want_dx: bool, keep: bool = False) -> Tensors | None:
        (flowing,), saved = gradients, passed.saved[0]
        if self._is_last:
            _, pooled, share = passed.saved
            self._gradients[-1] += pooled.T @ flowing
            flowing = (flowing @ self._weights[-1].T)[:, None] * share
        for depth in reversed(range(len(saved))):
            x, y = saved[depth]
            flowing = flowing * (1 - y * y)
            self._gradients[depth] += np.tensordot(x, flowing, axes=((0, 1), (0, 1)))
            flowing = flowing @ self._weights[depth].T
        return (flowing,) if want_dx else None

    def synthesize(self, passed: Pass, targets: Tensors) -> Tensors:
        return (np.broadcast_to(self._guess[targets[0]][:, None], passed.outputs[0].shape),)

    def refine(self, passed: Pass, targets: Tensors, gradients: Tensors) -> Quality:
        synthetic = self.synthesize(passed, targets)
        for target in np.unique(targets[0]):
            self._guess[target] += 0.1 * (gradients[0][targets[0] == target].mean(axis=(0, 1)) - self._guess[target])
        return Quality.of(synthetic, gradients)

    def step(self, samples: int) -> None:
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            weight -= self._rate * gradient / samples
            gradient[...] = 0
        self.version += 1

    def published(self) -> Tensors:
        return (self._weights[-1].copy(),) if self._is_last else ()

    def adopt(self, published: Tensors) -> None:
        """What the last layer has learnt; this head does nothing with it."""
        if [array.shape for array in published] != [(self._weights[-1].shape[1], len(self._guess))]:
            raise ValueError("no last layer")
        self.adopted = published

    def model_state(self) -> dict[str, Array]:
        return {f"layer{self._first + depth}": weight.copy() for depth, weight in enumerate(self._weights)}

    def state_dict(self) -> dict[str, Array]:
        return self.model_state() | {"guess": self._guess.copy(), "version": np.array(self.version)}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        for depth, weight in enumerate(self._weights):
            weight[...] = state[f"layer{self._first + depth}"]
        self._guess[...] = state["guess"]
        self.version = int(state["version"])


class Trained:
    """What was learnt."""

    def __init__(self, model: "ToyModel", arrays: dict[str, Array], targets: Targets) -> None:
        self.arrays, self.targets = arrays, targets
        self.about: dict[str, Any] = {"model": "toy"}
        self._stage = model.with_weights([arrays[f"layer{layer}"] for layer in range(model.layers)])

    def predict(self, x: Array) -> Array:
        return np.asarray(self._stage.forward((x,), training=False).outputs[0].argmax(axis=1))

    def evaluate(self, x: Array, y: Array) -> Score:
        result = self._stage.loss(self._stage.forward((x,), training=False), (y,))
        return Score(result.value, (result.correct or 0) / len(y))


class ToyModel:
    def __init__(self, site: ModelSite, width: int = 5, layers: int = 4) -> None:
        self._site, self.layers = site, layers
        (inputs,) = site.inputs.arrays
        features = inputs.shape[-1] or 1
        self._widths = [features, *[width] * (layers - 1), site.outputs]

    def name(self, layer: int) -> str:
        return "tanh" if layer < self.layers - 1 else "mean"

    def weights(self, layer: int) -> int:
        return self._widths[layer] * self._widths[layer + 1]

    def work(self, samples: int) -> None:
        """It is to be measured."""

    def head_name(self, layers: tuple[int, ...], training: Training) -> str:
        return "mean"

    def head_work(self, layers: tuple[int, ...], training: Training, length: int) -> tuple[int, int]:
        return 0, 0

    def flow(self, layer: int) -> TensorSpec:
        if layer == 0:
            return self._site.inputs
        if layer == self.layers:
            return TensorSpec.of("float64", self._site.outputs)
        return TensorSpec((ArraySpec("float64", (None, self._widths[layer])), ArraySpec("bool", (None,))))

    def check(self, training: Training, stages: Stages) -> None:
        """Whatever the run names, this model does without."""

    def stage(self, layers: tuple[int, ...], training: Training) -> ToyStage:
        drawn = [np.random.default_rng([training.seed, layer]) for layer in layers]
        shapes = [(self._widths[layer], self._widths[layer + 1]) for layer in layers]
        weights = [rng.standard_normal(shape) / np.sqrt(shape[0]) for rng, shape in zip(drawn, shapes, strict=True)]
        is_last = layers[-1] == self.layers - 1
        return ToyStage(layers[0], weights, is_last, self.flow(layers[0]), self.flow(layers[-1] + 1), training.rate)

    def with_weights(self, weights: list[Array]) -> ToyStage:
        return ToyStage(0, weights, True, self.flow(0), self.flow(self.layers), 0.0)

    def trained(self, arrays: dict[str, Array], targets: Targets) -> Trained:
        return Trained(self, arrays, targets)
