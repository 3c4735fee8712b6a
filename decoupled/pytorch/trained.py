"""A trained PyTorch model in evaluation mode: arrays in, answers out, no workers."""

from typing import Any

import numpy as np
import torch

from decoupled.nn.scores import Score
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL, Targets
from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.pytorch.blocks import Block, Flow
from decoupled.pytorch.losses import Loss, correct, summed
from decoupled.tensors import Array

HOST = torch.device("cpu")
ROWS = 256  # answered together


class TorchNetwork:
    """The blocks with all that the stages have learnt."""

    def __init__(
        self, blocks: list[Block], scales: bool, arrays: dict[str, Array], targets: Targets, loss: Loss, outputs: int
    ) -> None:
        """Raises ValueError when the arrays are not those of these blocks."""
        self._blocks, self.targets, self._loss, self._outputs_count = blocks, targets, loss, outputs
        self.arrays = arrays
        named = {
            f"{place}.{name}": value
            for place, block in enumerate(blocks[int(scales) :])
            for name, value in block.module.state_dict().items()
        }
        if odd := sorted(named.keys() ^ arrays.keys()):
            raise ValueError(f"{odd[0]} is in only one of the two")
        with torch.no_grad():
            for name, value in named.items():
                if tuple(value.shape) != arrays[name].shape:
                    raise ValueError(f"{name} has shape {arrays[name].shape}, but the network needs {tuple(value.shape)}")
                value.copy_(to_tensor(arrays[name], HOST))
        for block in blocks:
            block.module.eval()

    @property
    def about(self) -> dict[str, Any]:
        return {"model": "pytorch", "targets": self.targets.to_json()}

    def outputs(self, x: Array) -> torch.Tensor:
        found = []
        with torch.inference_mode():
            for start in range(0, len(x), ROWS):
                flowing: Flow = (to_tensor(x[start : start + ROWS], HOST),)
                for block in self._blocks:
                    flowing = block(flowing)
                found.append(flowing[0])
        return torch.cat(found)

    def predict(self, x: Array) -> Array:
        outputs = self.outputs(x)
        if self.targets.task == CLASSIFICATION:
            return self.targets.decode(to_array(outputs.argmax(-1)))
        if self.targets.task == MULTILABEL:
            return self.targets.decode(to_array(outputs > 0).astype(np.uint8))
        return self.targets.decode(self.targets.in_units(to_array(outputs)))

    def evaluate(self, x: Array, y: Array) -> Score:
        outputs, wanted = self.outputs(x), to_tensor(self.targets.encode(y, self._outputs_count), HOST)
        right, answers = correct(self.targets.task, outputs, wanted)
        return Score(float(summed(self._loss, outputs, wanted)) / len(x), None if right is None else right / answers)
