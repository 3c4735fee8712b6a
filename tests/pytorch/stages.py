"""Stages of any modules, and what a test does with them."""

from typing import Any

import numpy as np
import torch
from torch import nn

from decoupled.nn.optimisers import LearningRate
from decoupled.nn.stage import Pass, Weights
from decoupled.pytorch.blocks import Block, flows
from decoupled.pytorch.losses import make_loss
from decoupled.pytorch.optimisers import Optimiser
from decoupled.pytorch.precision import precision
from decoupled.pytorch.stage import TorchStage
from decoupled.tensors import Array, Tensors, TensorSpec

CPU = torch.device("cpu")


def a_stage(
    *modules: nn.Module,
    inputs: TensorSpec,
    weights: Weights = Weights.AT_FORWARD,
    optimiser: str = "sgd",
    options: dict[str, Any] | None = None,
    clip: float | None = None,
    dtype: str = "float32",
) -> TorchStage:
    """One that computes on the CPU, without a head."""
    blocks = [Block.of(module) for module in modules]
    row = nn.Sequential(*modules)
    learnt = {name: p for name, p in row.named_parameters() if p.requires_grad}
    with precision(dtype, CPU):
        outputs = flows(blocks, inputs)[-1]
    return TorchStage(
        dict(enumerate(blocks)),
        inputs=inputs,
        outputs=outputs,
        precision=precision(dtype, CPU),
        optimiser=Optimiser(optimiser, learnt, 0.1, options or {}, clip),
        learning_rate=LearningRate("constant", 1),
        loss=make_loss("softmax", {}),
        task="classification",
        seed=0,
        device=CPU,
        weights=weights,
    )


def floats(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gradients_like(passed: Pass, seed: int) -> Tensors:
    return tuple(floats(seed, *output.shape).astype(output.dtype) for output in passed.outputs)


def sums_of(stage: TorchStage) -> list[Array | None]:
    """The parameters' gradients since the update."""
    return [None if gradient is None else gradient.numpy().copy() for gradient in stage._gradients]


def update(stage: TorchStage, x: Tensors, seed: int) -> None:
    """One of a microbatch that goes forward and back at once."""
    passed = stage.forward(x)
    stage.backward(passed, gradients_like(passed, seed), want_dx=False)
    stage.step(len(x[0]))
