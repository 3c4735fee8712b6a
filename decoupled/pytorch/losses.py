"""Losses in PyTorch: the sum over a microbatch's samples, so that gradients are per sample, and which answers are right.

A sample with an answer for each position, such as a text, counts by the mean over its positions. The names are those of
`decoupled.nn.losses`; a user's own is a callable of outputs and targets that gives a mean, or a loss for each sample.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from decoupled import user_code
from decoupled.errors import UsageError
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL
from decoupled.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]  # outputs N x ... and targets N x ..., to a mean, or to losses N x ...


def softmax(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of class numbers N x ..., and logits with the classes last."""
    losses = functional.cross_entropy(outputs.flatten(0, -2), targets.flatten().long(), reduction="none")
    return losses.view(targets.shape)


def sigmoid(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of bits and logits N x ... x C: the sum over the bits."""
    return functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction="none").sum(-1)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the sum of squares, of values N x ... x C."""
    return (outputs - targets.to(outputs.dtype)).square().sum(-1) / 2


LOSSES = Registry("loss", {"softmax": lambda: softmax, "sigmoid": lambda: sigmoid, "squared": lambda: squared})


def make_loss(name: str, options: dict[str, Any]) -> Loss:
    """Raises UsageError where a user's own cannot be had."""
    loss: Loss = LOSSES.make(name, options=options)
    if user_code.is_reference(name) and not callable(loss):
        raise UsageError(f"The loss {name} gave a {type(loss).__name__}, which cannot be called with outputs and targets.")
    return loss


def summed(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The sum of the samples' losses, in at least float32."""
    if outputs.dtype in (torch.float16, torch.bfloat16):
        outputs = outputs.float()
    found = loss(outputs, targets)
    return found * len(outputs) if found.ndim == 0 else found.flatten(1).mean(1).sum() if found.ndim > 1 else found.sum()


def correct(task: str, outputs: Tensor, targets: Tensor) -> tuple[int | None, int]:
    """How many answers are right, None where right and wrong mean nothing; and how many there are."""
    if task == CLASSIFICATION:
        return int((outputs.argmax(-1) == targets).sum()), targets.numel()
    answers = targets[..., 0].numel()
    return (int(((outputs > 0) == (targets > 0.5)).all(-1).sum()) if task == MULTILABEL else None), answers
