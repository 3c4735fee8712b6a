"""torch-mlp: the fully connected network of `decoupled.nn`, for comparison."""

from itertools import pairwise

from torch import nn

from decoupled.nn.model import ModelSite


def make(spec: ModelSite, hidden: tuple[int, ...] = (256, 256, 256), batch_norm: bool = True) -> list[nn.Module]:
    """Hidden layers with batch norm and ReLU, and an output layer."""
    (inputs,) = spec.inputs.arrays[0].shape
    widths = (inputs or 0, *hidden)
    blocks = [
        nn.Sequential(nn.Linear(a, b, bias=not batch_norm), *([nn.BatchNorm1d(b)] if batch_norm else []), nn.ReLU())
        for a, b in pairwise(widths)
    ]
    return [*blocks, nn.Linear(widths[-1], spec.outputs)]
