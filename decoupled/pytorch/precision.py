"""Precision: the type of the weights, what blocks are computed under, and how inputs are standardised before the first."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from decoupled.nn.model import ModelSite


def weights_type(dtype: str) -> torch.dtype:
    """Of a run in float32, float64, or bfloat16, which is autocast over weights of float32."""
    return torch.float64 if dtype == "float64" else torch.float32


def precision(dtype: str, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()


class Standardise(nn.Module):
    """What enters the network, less its mean, in deviations; as the weights' type."""

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.mean.dtype) - self.mean) / self.deviation


def standardising(site: ModelSite, dtype: str) -> Standardise:
    """The module for a site whose inputs are standardised."""
    shape = site.inputs.arrays[0].shape
    mean, deviation = (torch.from_numpy(scale.copy()).to(weights_type(dtype)) for scale in site.scaling)
    if mean.numel() > 1 and None not in shape and mean.numel() == torch.Size(shape).numel():
        mean, deviation = mean.reshape(shape), deviation.reshape(shape)
    return Standardise(mean, deviation)
