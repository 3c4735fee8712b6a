"""Networks: from an architecture to seeded layers, to a trained network that answers."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from decoupled.errors import UsageError
from decoupled.nn.layers import ACTIVATIONS, BatchNorm, BatchNormReLU, Dense, Identity, Layer, ReLU, Standardize
from decoupled.nn.losses import LOSSES, Loss
from decoupled.nn.parameters import Array
from decoupled.nn.scores import Score, Tally, sums
from decoupled.nn.targets import CLASSIFICATION, DEVIATION, MEAN, MULTILABEL, REGRESSION, Targets
from decoupled.tensors import TensorSpec

USUAL = {"softmax": CLASSIFICATION, "sigmoid": MULTILABEL, "squared": REGRESSION}  # the task of a loss, where none is said


@dataclass(frozen=True, slots=True)
class Architecture:
    """A fully connected network: `widths` are its inputs, hidden layers and outputs; layer i maps width i to i + 1."""

    widths: tuple[int, ...]
    activation: str = "relu"
    batch_norm: bool = True
    loss: str = "softmax"
    dtype: str = "float32"
    activation_args: dict[str, Any] = field(default_factory=dict)  # options of it
    loss_args: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        return len(self.widths) - 1

    def make_loss(self) -> Loss:
        """Raises UsageError where a user's own cannot be had."""
        loss: Loss = LOSSES.make(self.loss, options=self.loss_args)
        return loss

    def weights(self, index: int) -> int:
        """How many weights layer `index` has, each of which is multiplied with once for a sample."""
        return self.widths[index] * self.widths[index + 1]


def build_layer(architecture: Architecture, index: int, seed: int) -> list[Layer]:
    """Layer `index` with its initial weights: the same for a seed, however the network is cut into stages.

    He's initialisation (2015, arXiv 1502.01852, eq. 10) before a ReLU, LeCun's (1998) elsewhere.
    """
    inputs, outputs = architecture.widths[index : index + 2]
    dtype = np.dtype(architecture.dtype).type
    hidden = index < architecture.layers - 1
    activation = ACTIVATIONS.make(architecture.activation, options=architecture.activation_args) if hidden else Identity()
    gain = 2 if isinstance(activation, ReLU) else 1
    draw = np.random.default_rng([seed, index]).standard_normal((inputs, outputs))
    weight = (draw * np.sqrt(gain / inputs)).astype(dtype)
    name = f"layer{index}"
    if hidden and architecture.batch_norm and isinstance(activation, ReLU):
        return [Dense(name, weight), BatchNormReLU(f"{name}.norm", outputs, dtype)]
    if hidden and architecture.batch_norm:
        return [Dense(name, weight), BatchNorm(f"{name}.norm", outputs, dtype), activation]
    return [Dense(name, weight, np.zeros(outputs, dtype)), activation]


class Network:
    """A trained network in evaluation mode: arrays in, answers out, no workers."""

    BATCH = 1024  # rows at a time, to bound memory

    def __init__(self, architecture: Architecture, arrays: dict[str, Array], targets: Targets | None = None) -> None:
        """Answers as the user gave `targets`; without, as the loss does. The scale of values may be among the arrays.

        Raises ValueError when `arrays` are not those of the architecture.
        """
        self.architecture = architecture
        self.loss = architecture.make_loss()
        targets = targets or Targets(USUAL.get(architecture.loss, REGRESSION))
        self.arrays = arrays | targets.arrays
        self.targets = _fitting(targets.with_scale(self.arrays), architecture.widths[-1])
        self._layers = _restore(
            architecture, {name: array for name, array in self.arrays.items() if name not in (MEAN, DEVIATION)}
        )

    def __str__(self) -> str:
        inputs, *_, outputs = self.architecture.widths
        return f"a network of {self.architecture.layers} layers, {inputs:,} inputs and {outputs:,} outputs"

    @property
    def about(self) -> dict[str, Any]:
        """What is needed beside the arrays to build the network again, as plain values."""
        return {"architecture": asdict(self.architecture), "targets": self.targets.to_json()}

    @property
    def inputs(self) -> TensorSpec:
        """Rows of numbers; of any type, although a type is named."""
        return TensorSpec.of(self.architecture.dtype, self.architecture.widths[0])

    @property
    def labels(self) -> Array | None:
        """The classes' labels, in the order of `predict_proba`'s columns; None where there are no classes."""
        return self.targets.labels_of(self.architecture.widths[-1])

    def outputs(self, x: Array) -> Array:
        """Raw outputs, N x C: logits, or values in the user's units. `x` is N x D, raw; further dimensions are flattened.

        Raises UsageError for inputs of another shape and for values that are not finite.
        """
        return self.targets.in_units(self._outputs(x))

    def _outputs(self, x: Array) -> Array:
        x = np.asarray(x)
        x = x.reshape(len(x), -1) if x.ndim > 2 else x
        if x.ndim != 2 or x.shape[1] != self.architecture.widths[0]:
            raise UsageError(f"The network takes inputs of shape (N, {self.architecture.widths[0]}), not {x.shape}.")
        if x.dtype.kind not in "buif":
            raise UsageError(f"The network takes numbers, not {x.dtype}.")
        require_finite(x)
        parts = [self._forward(x[start : start + self.BATCH]) for start in range(0, len(x), self.BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.architecture.widths[-1]), self.architecture.dtype)

    def _forward(self, x: Array) -> Array:
        for layer in self._layers:
            x, _ = layer.forward(x, training=False)
        return x

    def predict(self, x: Array) -> Array:
        """The answers for raw inputs, in the form of the targets trained on: labels, bits, or values in their units.

        Raises UsageError as `outputs` does.
        """
        return self.targets.decode(self.loss.predict(self.outputs(x)))

    def predict_proba(self, x: Array) -> Array:
        """The probability of each class (in the order of `labels`) or bit, N x C. Raises UsageError where there is none."""
        ask = getattr(self.loss, "probabilities", lambda outputs: None)  # a user's own loss may do without
        found: Array | None = ask(self.outputs(x))
        if found is None:
            answers = "Values have" if self.targets.task == REGRESSION else f"The loss {self.architecture.loss} gives"
            raise UsageError(f"{answers} no probabilities; leave --proba out, or call predict.")
        return found

    def evaluate(self, x: Array, y: Array) -> Score:
        """How well the answers for raw inputs fit a user's targets. Raises UsageError for what cannot be this network's."""
        tally = Tally(self.targets.unit(self.architecture.widths[-1]))
        self.tally(tally, x, y)
        return tally.score

    def tally(self, tally: Tally, x: Array, y: Array) -> None:
        """The same for a part of a set, which is added to the tally."""
        outputs = self._outputs(x)
        targets = self.targets.encode_for(len(outputs), y, self.architecture.widths[-1])
        loss, correct = self.loss.value_and_gradient(outputs, targets)[0], self.loss.correct(outputs, targets)
        errors = sums(outputs, targets) if self.targets.task == REGRESSION else None
        tally.add(len(targets), loss, correct, errors, measured=tally.measure(outputs, targets))


def require_finite(x: Array) -> None:
    """Raises UsageError with the first row of inputs that holds infinities, or what is no number."""
    if x.dtype.kind == "f" and not (finite := np.isfinite(x).all(axis=tuple(range(1, x.ndim)))).all():
        first = int(finite.argmin())
        raise UsageError(f"The inputs hold values that are not finite, first in row {first}. Mend or leave them out.")


def _fitting(targets: Targets, outputs: int) -> Targets:
    """Raises ValueError unless the targets have so many outputs."""
    sizes = [array.shape for array in (targets.labels, targets.mean, targets.deviation) if array is not None]
    if any(shape != (outputs,) for shape in sizes):
        raise ValueError(f"its targets are not those of {outputs} outputs")
    return targets


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
