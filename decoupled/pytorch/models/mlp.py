"""torch-mlp: the fully connected network of `decoupled.nn`, with the same initial weights, for comparison."""

from typing import Literal

import torch
from torch import nn

from decoupled.nn.layers import Dense
from decoupled.nn.model import ModelSite
from decoupled.nn.network import Architecture, build_layer

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "identity": nn.Identity}


def linear(layer: Dense) -> nn.Linear:
    """With the weights of one of numpy's, in its type."""
    made = nn.Linear(*layer.weight.value.shape, bias=layer.bias is not None, dtype=torch.float64)
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(layer.weight.value.T.copy()))
        if layer.bias is not None:
            made.bias.copy_(torch.from_numpy(layer.bias.value))
    return made


def block(layer: nn.Linear, activation: str, batch_norm: bool) -> nn.Module:
    """A hidden layer."""
    norm = [nn.BatchNorm1d(layer.out_features)] if batch_norm else []
    return nn.Sequential(layer, *norm, ACTIVATIONS[activation]())


def make(
    spec: ModelSite,
    hidden: tuple[int, ...] = (256, 256, 256),
    activation: Literal["relu", "sigmoid", "tanh", "identity"] = "relu",
    batch_norm: bool = True,
) -> list[nn.Module]:
    """Hidden layers with batch norm and an activation, and an output layer."""
    (inputs,) = spec.inputs.arrays[0].shape
    widths = (inputs or 0, *hidden, spec.outputs)
    architecture = Architecture(widths, activation, batch_norm, spec.loss, "float64")
    dense = [build_layer(architecture, index, spec.seed)[0] for index in range(architecture.layers)]
    *body, last = [linear(layer) for layer in dense if isinstance(layer, Dense)]
    return [*(block(layer, activation, batch_norm) for layer in body), last]
