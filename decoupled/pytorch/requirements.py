"""Requirements: what a user's blocks must be like to be trained in stages. Each is checked before anything is trained."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from decoupled import user_code
from decoupled.errors import UsageError
from decoupled.nn.model import ModelSite
from decoupled.pytorch.arrays import HOST, NAMES, to_tensor
from decoupled.pytorch.blocks import Block
from decoupled.pytorch.losses import LOSSES, Loss, summed
from decoupled.tensors import TensorSpec

ROWS, LENGTH = 2, 3  # that a loss is tried on


def require_trainable(blocks: Sequence[Block]) -> None:
    """Raises UsageError with the first thing about a block that cannot be trained, or saved, in a stage."""
    for index, block in enumerate(blocks):
        where = f"Block {index} ({block.name})"
        for module in block.module.modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
                raise UsageError(f"{where} has an embedding with sparse=True. Leave that out: gradients are dense here.")
        for name, parameter in block.module.named_parameters():
            if parameter.requires_grad and not (parameter.is_floating_point() and parameter.layout is torch.strided):
                raise UsageError(f"{where}: {name} is {parameter.dtype}; what is trained is dense and of floating point.")
            if parameter._backward_hooks:
                raise UsageError(f"{where}: {name} has a hook of its own, which copies of it lose. Use a module's hook instead.")
        for name, value in block.module.state_dict().items():
            if not isinstance(value, Tensor) or value.dtype not in NAMES:
                what = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise UsageError(f"{where}: {name} in its state_dict is a {what}, which cannot be saved here.")


def require_untied(blocks: Sequence[Block], stages: Sequence[Sequence[int]]) -> None:
    """Raises UsageError when stages share a parameter that is trained: each would train its own."""
    stage_of = {layer: stage for stage, layers in enumerate(stages) for layer in layers}
    seen: dict[int, tuple[int, str]] = {}
    for layer, block in enumerate(blocks):
        for name, parameter in block.module.named_parameters():
            if not parameter.requires_grad or not parameter.numel():
                continue
            first, its_name = seen.setdefault(parameter.untyped_storage().data_ptr(), (layer, name))
            if stage_of.get(first) != stage_of.get(layer):
                raise UsageError(
                    f"Blocks {first} and {layer} share {its_name} ({name} in the second), so they must be in one stage: "
                    f"give stages that hold blocks {first} to {layer} together, or a parameter to each."
                )


def require_answers(given: TensorSpec, site: ModelSite, loss: Loss) -> None:
    """Raises UsageError unless the loss can take what the last block gives, of which the first tensor is the answers.

    Arithmetic alone would not tell: one value in place of three is taken for all three.
    """
    answers, (targets,) = given.arrays[0], site.targets.arrays
    positions = targets.shape[:-1] if targets.below is None else targets.shape
    shape = (*positions, site.outputs)
    if not answers.has_gradient or (site.loss in LOSSES and answers.shape != shape):
        wanted = " x ".join(["N", *("any" if n is None else str(n) for n in shape)])
        raise UsageError(f"The last block gives {answers}, and is to give answers of floating point, {wanted}.")
    zeros, wanted_zeros = (to_tensor(spec.zeros(ROWS, LENGTH), HOST) for spec in (answers, targets))
    try:
        torch.autograd.grad(summed(loss, zeros.requires_grad_(), wanted_zeros), zeros)
    except Exception as error:
        said = user_code.describe(error)
        raise UsageError(f"The loss {site.loss} cannot take {answers}, with targets {targets}: {said}.") from error
