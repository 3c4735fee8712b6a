"""The fully connected network as a model: its layers, cut into stages that numpy computes."""

from typing import Any

import numpy as np

from decoupled.errors import UsageError
from decoupled.nn.catalogue import HEAD_NAMES, OPTIMISER_NAMES
from decoupled.nn.dense import DenseStage
from decoupled.nn.heads import HEADS, Head, HeadSite
from decoupled.nn.layers import ACTIVATIONS, Layer, Standardize
from decoupled.nn.losses import LOSSES
from decoupled.nn.model import ModelSite, Stages, Training
from decoupled.nn.network import Architecture, Network, build_layer
from decoupled.nn.optimisers import OPTIMISERS, LearningRate, Optimiser
from decoupled.nn.partition import Work
from decoupled.nn.stage import Weights
from decoupled.nn.targets import Targets
from decoupled.tensors import Array, TensorSpec

INPUT_TYPES = ("uint8", "float32")


class DenseModel:
    """A Model. Every layer takes and gives one array, N x width."""

    def __init__(
        self,
        site: ModelSite,
        hidden: tuple[int, ...],
        activation: str,
        batch_norm: bool,
        dtype: str,
        activation_args: dict[str, Any],
        loss_args: dict[str, Any],
    ) -> None:
        """Raises ValueError for inputs that are not rows of bytes or floats."""
        (inputs,) = site.inputs.arrays
        widths = (*inputs.shape, *hidden, site.outputs)
        if inputs.dtype not in INPUT_TYPES or len(inputs.shape) != 1 or not all(width and width > 0 for width in widths):
            raise ValueError(f"a fully connected network does not take {inputs}, or give {site.outputs} outputs")
        if not all(scale.shape in ((1,), inputs.shape) and scale.dtype.kind == "f" for scale in site.scaling):
            raise ValueError("the inputs' scaling does not fit them")
        self._site = site
        self.architecture = Architecture(
            tuple(width for width in widths if width is not None),
            activation,
            batch_norm,
            site.loss,
            dtype,
            activation_args,
            loss_args,
        )

    @property
    def layers(self) -> int:
        return self.architecture.layers

    def name(self, layer: int) -> str:
        is_last = layer == self.layers - 1
        return "dense" if is_last else f"dense, {'norm, ' * self.architecture.batch_norm}{self.architecture.activation}"

    def weights(self, layer: int) -> int:
        """With the biases, or the norm's two for each output."""
        has_norm = self.architecture.batch_norm and layer < self.layers - 1
        return self.architecture.weights(layer) + self.architecture.widths[layer + 1] * (2 if has_norm else 1)

    def work(self, samples: int) -> Work:
        """Counted: the output, and both gradients of a matrix product, also where nobody asks for the inputs' gradient."""
        products = tuple(samples * self.architecture.weights(layer) for layer in range(self.layers))
        return Work("multiplications", products, tuple(2 * product for product in products))

    def head_name(self, layers: tuple[int, ...], training: Training) -> str:
        return training.head or ""

    def head_work(self, layers: tuple[int, ...], training: Training, length: int) -> tuple[int, int]:
        head = self.stage(layers, training).head
        return (0 if head is None else head.work[0]), 3 * sum(map(self.architecture.weights, layers))

    def flow(self, layer: int) -> TensorSpec:
        return TensorSpec.of(self.architecture.dtype, self.architecture.widths[layer]) if layer else self._site.inputs

    def check(self, training: Training, stages: Stages) -> None:
        if training.optimiser in OPTIMISER_NAMES and training.optimiser not in OPTIMISERS:
            raise UsageError(f"mlp has no optimiser {training.optimiser}; PyTorch's models have it, such as torch-mlp.")
        if self.architecture.dtype == "bfloat16":
            raise UsageError("mlp computes in float32 or float64; PyTorch's models take bfloat16, such as torch-mlp.")
        if training.head is not None and training.head in HEAD_NAMES and training.head not in HEADS:
            raise UsageError(f"mlp has no head {training.head}; choose {', '.join(HEADS)}.")
        if training.clip is not None:
            raise UsageError("mlp has no optimiser.clip; PyTorch's models have it, such as torch-mlp.")
        if training.devices not in ("auto", "cpu"):
            raise UsageError(
                f"mlp is computed on the CPU, not on {training.devices}; PyTorch's models can be, such as torch-mlp."
            )
        OPTIMISERS.fitting(training.optimiser, 0, training.optimiser_args)
        ACTIVATIONS.fitting(self.architecture.activation, 0, self.architecture.activation_args)
        LOSSES.fitting(self.architecture.loss, 0, self.architecture.loss_args)
        if training.head is not None:
            HEADS.fitting(training.head, 1, training.head_args)

    def stage(self, layers: tuple[int, ...], training: Training) -> DenseStage:
        architecture, made = self.architecture, list[Layer]()
        if layers[0] == 0:
            mean, deviation = (scale.astype(architecture.dtype) for scale in self._site.scaling)
            made.append(Standardize(mean, deviation))
        for layer in layers:
            made += build_layer(architecture, layer, training.seed)
        optimiser: Optimiser = OPTIMISERS.make(training.optimiser, options=training.optimiser_args)
        head = None if training.head is None else self._head(layers[-1], training.head, training)
        return DenseStage(
            inputs=self.flow(layers[0]),
            outputs=self.flow(layers[-1] + 1),
            layers=made,
            optimiser=optimiser,
            rate=training.rate,
            learning_rate=LearningRate(training.decay, training.steps_total, training.warm_up),
            loss=architecture.make_loss(),
            head=head,
            weights=training.weights or Weights.CURRENT,
        )

    def _head(self, last: int, name: str, training: Training) -> Head:
        site = HeadSite(
            inputs=self.architecture.widths[last + 1],
            outputs=self.architecture.widths[-1],
            loss=self.architecture.make_loss(),
            rate=training.head_rate,
            rng=np.random.default_rng([training.seed, last, 0x4EAD]),
            dtype=np.dtype(self.architecture.dtype).type,
        )
        head: Head = HEADS.make(name, site, options=training.head_args)
        return head

    def trained(self, arrays: dict[str, Array], targets: Targets) -> Network:
        return Network(self.architecture, arrays, targets)
