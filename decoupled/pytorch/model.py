"""A user's blocks as a model: a row that can be cut between any two, with the same initial weights however it is cut."""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from decoupled.nn.model import ModelSite, TrainedModel, Training
from decoupled.nn.optimisers import LearningRate
from decoupled.nn.stage import Weights
from decoupled.nn.targets import Targets
from decoupled.pytorch.arrays import type_of
from decoupled.pytorch.blocks import Block, blocks_of, flows
from decoupled.pytorch.heads.catalogue import HEADS, fitting
from decoupled.pytorch.heads.interface import Head, HeadSite
from decoupled.pytorch.losses import make_loss
from decoupled.pytorch.optimisers import OPTIMISERS, Optimiser
from decoupled.pytorch.stage import TorchStage
from decoupled.pytorch.trained import TorchNetwork
from decoupled.tensors import Array, TensorSpec

HOST = torch.device("cpu")
SCALING = -1  # the place of what standardises the inputs, before all blocks
OF_HEADS = 0x4EAD  # keeps the random numbers of heads apart from those of weights


class Standardise(nn.Module):
    """What enters the network, less its mean, in deviations; as the network's type."""

    def __init__(self, mean: Tensor, deviation: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("mean", mean.to(dtype), persistent=False)
        self.register_buffer("deviation", deviation.to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.mean.dtype) - self.mean) / self.deviation


class TorchModel:
    """A Model of a row of blocks."""

    def __init__(self, site: ModelSite, made: Any, dtype: str, loss_args: dict[str, Any]) -> None:
        """`made` is what a user's function gives; `dtype` is float32, float64, or bfloat16 for autocast.

        Raises UsageError when it is no row of modules, or one cannot take what the one before it gives.
        """
        self._site, self._dtype = site, dtype
        self.loss = make_loss(site.loss, loss_args)
        self.blocks = blocks_of(made)
        for block in self.blocks:
            block.module.to(torch.float64 if dtype == "float64" else torch.float32)
        with self.precision(HOST):
            self._flows = flows([*self._scaling(HOST), *self.blocks], site.inputs)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def check(self, training: Training) -> None:
        OPTIMISERS.fitting(training.optimiser, 1, training.optimiser_args)
        if training.head is not None and training.head != "auto":
            HEADS.fitting(training.head, 1, training.head_args)

    def weights(self, layer: int) -> int:
        return self.blocks[layer].numbers

    def flow(self, layer: int) -> TensorSpec:
        return self._flows[layer + self._scales] if layer else self._site.inputs

    @property
    def _scales(self) -> bool:
        """Whether the inputs are standardised."""
        return bool(self._site.scaling[0].size)

    def _scaling(self, device: torch.device) -> list[Block]:
        """What comes before the first block: it standardises the inputs, where they are to be."""
        if not self._scales:
            return []
        shape, dtype = self._site.inputs.arrays[0].shape, torch.float64 if self._dtype == "float64" else torch.float32
        mean, deviation = (torch.from_numpy(scale.copy()).to(device) for scale in self._site.scaling)
        if mean.numel() > 1 and None not in shape and mean.numel() == torch.Size(shape).numel():
            mean, deviation = mean.reshape(shape), deviation.reshape(shape)
        return [Block.of(Standardise(mean, deviation, dtype).to(device))]

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """What the blocks are computed under."""
        is_mixed = self._dtype == "bfloat16"
        return torch.autocast(device.type, type_of(self._dtype)) if is_mixed else nullcontext()

    def stage(self, layers: tuple[int, ...], training: Training) -> TorchStage:
        device = HOST
        blocks = copy.deepcopy([self.blocks[layer] for layer in layers])
        for block in blocks:
            block.module.to(device).train()
        by_place = dict(zip(layers, blocks, strict=True))
        scaling = self._scaling(device) if layers[0] == 0 else []
        named = {f"{place}.{name}": p for place, block in by_place.items() for name, p in block.module.named_parameters()}
        return TorchStage(
            dict(zip([SCALING], scaling, strict=False)) | by_place,
            inputs=self.flow(layers[0]),
            outputs=self.flow(layers[-1] + 1),
            optimiser=self._optimiser(named, training),
            learning_rate=LearningRate(training.decay, training.steps_total),
            loss=self.loss,
            task=self._task,
            seed=training.seed,
            device=device,
            weights=training.weights or Weights.AT_FORWARD,
            precision=self.precision(device),
            head=None if training.head is None else self._head(layers[-1], blocks, training, device),
        )

    @property
    def _task(self) -> str:
        return {"softmax": "classification", "sigmoid": "multilabel"}.get(self._site.loss, "regression")

    def _optimiser(self, named: dict[str, nn.Parameter], training: Training) -> Optimiser:
        learnt: dict[str, Tensor] = {name: p for name, p in named.items() if p.requires_grad}
        return Optimiser(training.optimiser, learnt, training.rate, training.optimiser_args)

    def _head(self, last: int, blocks: list[Block], training: Training, device: torch.device) -> Head:
        flow = self.flow(last + 1)
        name = fitting(training.head or "", flow)
        site = HeadSite(
            flow=flow,
            outputs=self._site.outputs,
            targets=self._site.targets,
            loss=self.loss,
            rate=training.head_rate,
            device=device,
            stage=tuple(blocks),
            last=self.blocks[-1].module,
            optimiser=training.optimiser,
            optimiser_args=training.optimiser_args,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed * 1_000_003 + OF_HEADS + last)
            head: Head = HEADS.make(name, site, options=training.head_args)
        return head

    def trained(self, arrays: dict[str, Array], targets: Targets) -> TrainedModel:
        blocks = [*self._scaling(HOST), *copy.deepcopy(self.blocks)]
        return TorchNetwork(blocks, self._scales, arrays, targets, self.loss, self._site.outputs)
