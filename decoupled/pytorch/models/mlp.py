"""torch-mlp: the fully connected network of `decoupled.nn`, with the same initial weights, for comparison."""

from typing import Literal

import torch
from torch import nn

from decoupled.nn.layers import Dense
from decoupled.nn.model import ModelSite
from decoupled.nn.network import Architecture, build_layer

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "identity": nn.Identity}


def linear(architecture: Architecture, index: int, seed: int) -> nn.Linear:
    """Layer `index`, with the weights that numpy's has; a bias would be cancelled by a batch norm behind it."""
    inputs, outputs = architecture.widths[index : index + 2]
    is_last = index == architecture.layers - 1
    made = nn.Linear(inputs, outputs, bias=is_last or not architecture.batch_norm, dtype=torch.float64)
    if made.weight.is_meta:  # its shapes alone are asked for
        return made
    dense = build_layer(architecture, index, seed)[0]
    assert isinstance(dense, Dense)
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(dense.weight.value.T.copy()))
        if made.bias is not None:
            made.bias.zero_()
    return made


def make(
    spec: ModelSite,
    hidden: tuple[int, ...] = (256, 256, 256),
    activation: Literal["relu", "sigmoid", "tanh", "identity"] = "relu",
    batch_norm: bool = True,
) -> list[nn.Module]:
    """Hidden layers with batch norm and an activation, and an output layer."""
    (inputs,) = spec.inputs.arrays[0].shape
    architecture = Architecture((inputs or 0, *hidden, spec.outputs), activation, batch_norm, spec.loss, "float64")
    *body, last = (linear(architecture, index, spec.seed) for index in range(architecture.layers))
    norms = [[nn.BatchNorm1d(layer.out_features)] if batch_norm else [] for layer in body]
    blocks = [nn.Sequential(layer, *norm, ACTIVATIONS[activation]()) for layer, norm in zip(body, norms, strict=True)]
    return [*blocks, last]
