"""A trained PyTorch model in evaluation mode: arrays in, answers out, no workers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from decoupled.errors import UsageError
from decoupled.nn.network import require_finite
from decoupled.nn.recipe import Recipe
from decoupled.nn.scores import Score, Tally, sums
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL, REGRESSION, Targets
from decoupled.pytorch.arrays import HOST, NAMES, to_array, to_tensor
from decoupled.pytorch.blocks import Block, Flow, blocks_of, row_of
from decoupled.pytorch.losses import correct, make_loss, summed
from decoupled.pytorch.precision import precision, standardising, weights_type
from decoupled.tensors import Array, TensorSpec
from decoupled.user_code import describe, is_reference


class TorchNetwork:
    """The blocks with all that the stages have learnt. `modules` are a user's own, as plain PyTorch uses them."""

    BATCH = 256  # rows at a time, to bound memory

    def __init__(self, recipe: Recipe, modules: nn.Sequential, arrays: dict[str, Array], targets: Targets) -> None:
        """Raises ValueError when the arrays are not those of these modules."""
        self.recipe, self.targets, self.arrays = recipe, targets, arrays
        (self._input,) = recipe.site.inputs.arrays
        self._loss = make_loss(recipe.site.loss, recipe.loss_args)
        refuse_others(modules, arrays)
        self.modules = modules.to(weights_type(recipe.dtype)).eval()
        self.modules.load_state_dict({name: to_tensor(array, HOST) for name, array in arrays.items()})
        scaling = [Block.of(standardising(recipe.site, recipe.dtype))] if recipe.site.scaling[0].size else []
        self.blocks = [*scaling, *blocks_of(self.modules)]

    def __str__(self) -> str:
        site = self.recipe.site
        return f"{self.recipe.model} of {len(self.modules)} blocks, from {site.inputs} to {site.outputs:,} outputs"

    @property
    def about(self) -> dict[str, Any]:
        """What is needed beside the arrays to build the network again, as plain values."""
        units = {name: array.tolist() for name, array in self.targets.arrays.items()}
        return {"pytorch": self.recipe.to_json(), "targets": self.targets.to_json(), "units": units}

    @property
    def inputs(self) -> TensorSpec:
        return self.recipe.site.inputs

    @property
    def labels(self) -> Array | None:
        """The classes' labels, in the order of `predict_proba`'s columns; None where there are no classes."""
        return self.targets.labels_of(self.recipe.site.outputs)

    def outputs(self, x: Array) -> Array:
        """Raw outputs, N x ... x C, for raw inputs: logits, or values in the user's units.

        Raises UsageError for inputs of another shape and for values that are not finite.
        """
        return self.targets.in_units(to_array(self._outputs(x)))

    def _outputs(self, x: Array) -> Tensor:
        """As they are learnt, in at least float32."""
        x = self._fitting(np.asarray(x))
        rows = x if len(x) else np.zeros((1, *x.shape[1:]), x.dtype)
        parts = [self._forward(rows[start : start + self.BATCH]) for start in range(0, len(rows), self.BATCH)]
        return torch.cat(parts)[: len(x)]

    def _forward(self, x: Array) -> Tensor:
        with torch.inference_mode(), precision(self.recipe.dtype, HOST):
            flowing: Flow = (to_tensor(x, HOST),)
            try:
                for block in self.blocks:
                    flowing = block(flowing)
            except (RuntimeError, ValueError, TypeError, LookupError) as error:  # such as PyTorch raises for shapes
                raise UsageError(f"The network cannot take {x.dtype} of shape {x.shape}: {describe(error)}.") from error
        outputs = flowing[0]
        return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs

    def _fitting(self, x: Array) -> Array:
        """The inputs as the first block takes them."""
        spec = self._input
        x = x.reshape(len(x), -1) if x.ndim > 2 and len(spec.shape) == 1 else x
        lengths = zip(spec.shape, x.shape[1:], strict=False)
        if x.ndim != len(spec.shape) + 1 or any(wanted not in (None, length) for wanted, length in lengths):
            raise UsageError(f"The network takes inputs of {spec}, not {x.dtype} of shape {x.shape}.")
        takes_any = spec.has_gradient or self.recipe.site.scaling[0].size
        if x.dtype.kind not in ("buif" if takes_any else "bui"):
            raise UsageError(f"The network takes {'numbers' if takes_any else 'whole numbers'}, not {x.dtype}.")
        require_finite(x)
        if spec.below is not None and x.size and not 0 <= x.min() <= x.max() < spec.below:
            raise UsageError(f"The inputs must be whole numbers from 0 to {spec.below - 1}; they go from {x.min()} to {x.max()}.")
        if x.dtype == spec.dtype or (self.recipe.site.scaling[0].size and x.dtype.name in NAMES.values()):
            return x
        return x.astype(spec.dtype if spec.has_gradient or spec.below is not None else np.float32)

    def predict(self, x: Array) -> Array:
        """The answers for raw inputs, in the form of the targets trained on: labels, bits, or values in their units.

        Raises UsageError as `outputs` does.
        """
        outputs = self._outputs(x)
        if self.targets.task == CLASSIFICATION:
            return self.targets.decode(to_array(outputs.argmax(-1)))
        if self.targets.task == MULTILABEL:
            return self.targets.decode(to_array(outputs > 0).astype(np.uint8))
        return self.targets.decode(self.targets.in_units(to_array(outputs)))

    def predict_proba(self, x: Array) -> Array:
        """The probability of each class (in the order of `labels`) or bit, N x ... x C. Raises UsageError where there is none."""
        if self.targets.task == REGRESSION:
            raise UsageError("Values have no probabilities; leave --proba out, or call predict.")
        outputs = self._outputs(x)
        return to_array(outputs.softmax(-1) if self.targets.task == CLASSIFICATION else outputs.sigmoid())

    def evaluate(self, x: Array, y: Array) -> Score:
        """How well the answers for raw inputs fit a user's targets. Raises UsageError for what cannot be this network's."""
        tally = Tally.of(self.targets, self.recipe.site.outputs, self.recipe.site.loss, ())
        self.tally(tally, x, y)
        return tally.score

    def tally(self, tally: Tally, x: Array, y: Array) -> None:
        """The same for a part of a set, which is added to the tally."""
        outputs = self._outputs(x)
        targets = self.targets.encode_for(len(outputs), y, self.recipe.site.outputs)
        wanted = to_tensor(targets, HOST)
        loss = float(summed(self._loss, outputs, wanted)) / len(targets)
        right, answers = correct(self.targets.task, outputs, wanted)
        given = to_array(outputs)
        errors = sums(given, targets) if self.targets.task == REGRESSION else None
        tally.add(len(targets), loss, right, errors, answers, tally.measure(given, targets))


def refuse_others(modules: nn.Sequential, arrays: dict[str, Array]) -> None:
    """Raises ValueError unless the arrays are what these modules hold."""
    shapes = {name: tuple(value.shape) for name, value in modules.state_dict().items()}
    if odd := sorted(shapes.keys() ^ arrays.keys()):
        raise ValueError(f"the arrays are not those of this network: {odd[0]} is in only one of the two")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, but the network needs {shape}")


def restored(recipe: Recipe, arrays: dict[str, Array], targets: Targets) -> TorchNetwork:
    """The network of a run's folder.

    Raises UsageError where its model cannot be had, and ValueError when the arrays are not that model's, before any memory is
    taken for what the folder only claims.
    """
    if not is_reference(recipe.model):
        try:
            with torch.device("meta"):  # without memory; a user's own code may not be able to do so
                claimed = row_of(recipe.make())
        except (RuntimeError, ArithmeticError) as error:
            raise ValueError(f"{recipe.model} cannot be so: {error}") from error
        refuse_others(claimed, arrays)
    return TorchNetwork(recipe, row_of(recipe.make()), arrays, targets)
