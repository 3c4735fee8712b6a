"""A trained PyTorch model as an ONNX graph, from raw inputs to answers."""

import io
import warnings

import torch
from torch import Tensor, nn

from decoupled.errors import UsageError
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL, Targets
from decoupled.pytorch.arrays import HOST, to_tensor
from decoupled.pytorch.blocks import Block, Flow
from decoupled.pytorch.trained import TorchNetwork


class Answering(nn.Module):
    """The blocks, and what is made of what they give: answers (class numbers, bits or values), and outputs."""

    def __init__(self, blocks: list[Block], targets: Targets) -> None:
        super().__init__()
        self._blocks, self._task = blocks, targets.task
        self.modules_of_blocks = nn.ModuleList(block.module for block in blocks)
        self.register_buffer("unit", None if targets.deviation is None else torch.from_numpy(targets.deviation))
        self.register_buffer("zero", None if targets.mean is None else torch.from_numpy(targets.mean))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flowing: Flow = (x,)
        for block in self._blocks:
            flowing = block(flowing)
        outputs = flowing[0]
        if self._task == CLASSIFICATION:
            return outputs.argmax(-1), outputs
        if self._task == MULTILABEL:
            return (outputs > 0).to(torch.uint8), outputs
        if self.unit is not None:
            outputs = outputs.double() * self.unit + self.zero
        return outputs.clone(), outputs


def graph(network: TorchNetwork, opset: int) -> bytes:
    """The network's graph from `inputs`, as they were trained on, to `answers` and `outputs`, for any number of samples.

    A run in bfloat16 is computed in float32. Raises UsageError when ONNX cannot express it.
    """
    (spec,) = network.recipe.site.inputs.arrays
    varying = {0: "N"} | {axis: f"length{axis}" for axis, length in enumerate(spec.shape, 1) if length is None}
    example = to_tensor(spec.zeros(2, 5), HOST)
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter that needs no further package is not the default any more
            torch.onnx.export(
                Answering(network.blocks, network.targets).eval(),
                (example,),
                file,
                input_names=["inputs"],
                output_names=["answers", "outputs"],
                dynamic_axes={"inputs": varying, "answers": {0: "N"}, "outputs": {0: "N"}},
                opset_version=opset,
                dynamo=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"ONNX cannot express this network: {reason:.200} Export it as .safetensors.") from error
    return file.getvalue()
