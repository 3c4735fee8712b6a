"""A user's blocks as a model: a row that can be cut between any two, with the same initial weights however it is cut."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from decoupled.nn.model import Stages, TrainedModel, Training
from decoupled.nn.optimisers import LearningRate
from decoupled.nn.recipe import Recipe, seeded
from decoupled.nn.stage import Weights
from decoupled.nn.targets import Targets
from decoupled.pytorch.arrays import HOST
from decoupled.pytorch.blocks import Block, blocks_of, flows, renamed, row_of
from decoupled.pytorch.devices import device_of
from decoupled.pytorch.heads.catalogue import check_head, check_options, fitting, make_head, reads_output
from decoupled.pytorch.heads.interface import Head, HeadSite
from decoupled.pytorch.heads.sequence import output_layer
from decoupled.pytorch.losses import make_loss
from decoupled.pytorch.optimisers import Optimiser, try_out
from decoupled.pytorch.precision import precision, standardising, weights_type
from decoupled.pytorch.requirements import require_answers, require_trainable, require_untied
from decoupled.pytorch.stage import TorchStage
from decoupled.pytorch.trained import TorchNetwork
from decoupled.pytorch.work import head_and_stage
from decoupled.tensors import Array, TensorSpec

SCALING = -1  # the place of what standardises the inputs, before all blocks
OF_HEADS = 0x4EAD  # keeps the random numbers of heads apart from those of weights


class TorchModel:
    """A Model of a row of blocks."""

    def __init__(self, recipe: Recipe, made: Any) -> None:
        """`made` is what the recipe's factory gives.

        Raises UsageError when it is no row of modules, or one cannot take what the one before it gives.
        """
        self._recipe, self._site, self._dtype = recipe, recipe.site, recipe.dtype
        self.loss = make_loss(self._site.loss, recipe.loss_args)
        self._row = row_of(made).to(weights_type(self._dtype))
        self.blocks = blocks_of(self._row)
        self._scales = bool(self._site.scaling[0].size)
        with precision(self._dtype, HOST), seeded(self._site.seed + 1):  # lazy modules draw their weights here
            self._flows = flows([*self._scaling(HOST), *self.blocks], self._site.inputs, -self._scales)
        require_trainable(self.blocks)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def check(self, training: Training, stages: Stages) -> None:
        require_untied(self.blocks, stages)
        require_answers(self.flow(self.layers), self._site, self.loss)
        one_of_each = {p.ndim: p for block in self.blocks for p in block.module.parameters() if p.requires_grad}
        try_out(training.optimiser, list(one_of_each.values()), training.optimiser_args)
        if training.head is None:
            return
        check_options(training.head, training.head_args)
        for layers in stages[:-1]:
            with self._seeded_for(layers, training):
                check_head(training.head, self._head_site(layers, training, self._blocks(layers), HOST), training.head_args)

    def name(self, layer: int) -> str:
        module = self.blocks[layer].module
        parts = list(module) if isinstance(module, nn.Sequential) else [module]
        return ", ".join(type(part).__name__ for part in parts)

    def head_name(self, layers: tuple[int, ...], training: Training) -> str:
        return fitting(training.head or "", self.flow(layers[-1] + 1))

    def work(self, samples: int) -> None:
        """It is to be measured: multiplications say little of what a block takes."""

    def weights(self, layer: int) -> int:
        return self.blocks[layer].numbers

    def flow(self, layer: int) -> TensorSpec:
        return self._flows[layer + self._scales] if layer else self._site.inputs

    def _scaling(self, device: torch.device) -> list[Block]:
        """What comes before the first block: it standardises the inputs, where they are to be."""
        return [Block.of(standardising(self._site, self._dtype).to(device))] if self._scales else []

    def row(self, layers: tuple[int, ...]) -> list[Block]:
        """These blocks themselves, behind what standardises the inputs where the first is among them."""
        return [*(self._scaling(HOST) if layers[0] == 0 else []), *(self.blocks[layer] for layer in layers)]

    def stage(self, layers: tuple[int, ...], training: Training) -> TorchStage:
        device = device_of(training.devices, training.stage)
        blocks = self._blocks(layers)
        for block in blocks:
            block.module.to(device)
        by_place = dict(zip(layers, blocks, strict=True))
        scaling = self._scaling(device) if layers[0] == 0 else []
        named = {f"{place}.{name}": p for place, block in by_place.items() for name, p in block.module.named_parameters()}
        return TorchStage(
            dict(zip([SCALING], scaling, strict=False)) | by_place,
            inputs=self.flow(layers[0]),
            outputs=self.flow(layers[-1] + 1),
            optimiser=self._optimiser(named, training),
            learning_rate=LearningRate(training.decay, training.steps_total, training.warm_up),
            loss=self.loss,
            task=training.task,
            seed=training.seed,
            device=device,
            weights=training.weights or Weights.AT_FORWARD,
            precision=precision(self._dtype, device),
            head=self._head(layers, training, blocks, device),
            read=self._read(layers, training, blocks),
        )

    def _blocks(self, layers: tuple[int, ...]) -> list[Block]:
        return copy.deepcopy([self.blocks[layer] for layer in layers])

    def _optimiser(self, named: dict[str, nn.Parameter], training: Training) -> Optimiser:
        first_names = {p: name for name, p in reversed(named.items()) if p.requires_grad}  # one for each that has two places
        learnt: dict[str, Tensor] = {name: p for name, p in named.items() if first_names.get(p) == name}
        return Optimiser(training.optimiser, learnt, training.rate, training.optimiser_args, training.clip)

    def _read(self, layers: tuple[int, ...], training: Training, blocks: list[Block]) -> tuple[Tensor, ...]:
        """The parameters of the network's output layer, where a head may read them; elsewhere only what they are like."""
        head, flows = training.head or training.heads_before, self._flows[1 + self._scales : -1]
        if head is None or not any(reads_output(head, flow) for flow in flows):
            return ()
        is_last = layers[-1] == self.layers - 1
        output = output_layer((blocks if is_last else self.blocks)[-1].module, self._site.outputs)
        parameters = () if output is None else tuple(output.parameters())
        return parameters if is_last else tuple(torch.empty_like(p, device="meta") for p in parameters)

    def _head(self, layers: tuple[int, ...], training: Training, blocks: list[Block], device: torch.device) -> Head | None:
        if training.head is None:
            return None
        with self._seeded_for(layers, training):
            return make_head(training.head, self._head_site(layers, training, blocks, device), training.head_args)

    @contextmanager
    def _seeded_for(self, layers: tuple[int, ...], training: Training) -> Iterator[None]:
        """Has what is drawn for the head of these layers be the same for a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed * 1_000_003 + OF_HEADS + layers[-1])
            yield

    def _head_site(self, layers: tuple[int, ...], training: Training, blocks: list[Block], device: torch.device) -> HeadSite:
        return HeadSite(
            flow=self.flow(layers[-1] + 1),
            outputs=self._site.outputs,
            targets=self._site.targets,
            loss=self.loss,
            rate=training.head_rate,
            device=device,
            stage=tuple(blocks),
            output=output_layer(self.blocks[-1].module, self._site.outputs),
            optimiser=training.optimiser,
            optimiser_args=training.optimiser_args,
            precision=precision(self._dtype, device),
        )

    def head_work(self, layers: tuple[int, ...], training: Training, length: int = 64) -> tuple[int, int]:
        """Multiplications for a sample, forward and backward: of the stage's head, and of the stage.

        Lengths that vary are taken to be `length`.
        """
        return head_and_stage(self.stage(layers, training), self._site.targets, length)

    def trained(self, arrays: dict[str, Array], targets: Targets) -> TrainedModel:
        return TorchNetwork(self._recipe, copy.deepcopy(self._row), renamed(arrays, self._row), targets)
