"""The run's network and optimiser as a script in plain PyTorch would have them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from decoupled.bench.held_out import held_out, quarter
from decoupled.bench.torch_peer.job import Job
from decoupled.data.dataset import Dataset
from decoupled.data.source import DataSource
from decoupled.errors import UsageError
from decoupled.nn.model import Training
from decoupled.nn.optimisers import LearningRate
from decoupled.pytorch.blocks import Block, Flow
from decoupled.pytorch.model import TorchModel
from decoupled.pytorch.optimisers import OPTIMISERS
from decoupled.pytorch.precision import precision
from decoupled.runtime.resolve import ResolvedRun, resolve, training

HOST = torch.device("cpu")


def in_torch(job: Job, dataset: DataSource) -> ResolvedRun:
    """The job's run in one process, on PyTorch's twin where the network is numpy's. Raises UsageError for other models."""
    model = "torch-mlp" if job.run.model == "mlp" else job.run.model
    alone = {"model": model, "schedule": "single", "stages": None, "workers": None, "faults": (), "microbatches": None}
    resolved = resolve(job.run.model_copy(update=alone), dataset)
    return quarter(resolved, held_out(dataset)) if job.is_held_out and isinstance(dataset, Dataset) else resolved


def model_of(resolved: ResolvedRun) -> TorchModel:
    """Raises UsageError unless PyTorch computes the run's model."""
    if not isinstance(resolved.model, TorchModel):
        raise UsageError(f"PyTorch cannot train {resolved.run.model}, which is no row of its modules. Leave --peers out.")
    return resolved.model


class Row(nn.Module):
    """Blocks in a row, of which one tensor goes into the first and one comes out of the last."""

    def __init__(self, blocks: list[Block], dtype: str) -> None:
        super().__init__()
        self.modules_in_order = nn.ModuleList(block.module for block in blocks)
        self._blocks, self._dtype = blocks, dtype

    def forward(self, x: Tensor) -> Tensor:
        flowing: Flow = (x,)
        with precision(self._dtype, HOST):
            for block in self._blocks:
                flowing = block(flowing)
        return flowing[0]


def network(resolved: ResolvedRun, layers: Iterable[int]) -> Row:
    """These layers of the network, with the run's initial weights."""
    torch.manual_seed(resolved.run.seed)
    made = Row(model_of(resolved).row(tuple(layers)), resolved.run.network.dtype)
    made.train()
    return made


class Optimiser:
    """The run's optimiser and its learning rate, which changes from update to update."""

    def __init__(self, job: Job, resolved: ResolvedRun, model: nn.Module) -> None:
        trained: Training = training(resolved.run, resolved.steps_total, has_head=False)
        self._rate = LearningRate(trained.decay, trained.steps_total, trained.warm_up)
        self._lr, self._clip, self._steps = trained.rate, trained.clip, 0
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        options = {"lr": trained.rate} | trained.optimiser_args | ({"fused": True} if job.fused else {})
        self._inner: torch.optim.Optimizer = OPTIMISERS.make(trained.optimiser, self._parameters, options=options)

    def step(self) -> None:
        """One update with the accumulated gradients, which are then cleared."""
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        for group in self._inner.param_groups:
            group["lr"] = self._lr * self._rate.factor(self._steps)
        self._inner.step()
        self._inner.zero_grad()
        self._steps += 1
