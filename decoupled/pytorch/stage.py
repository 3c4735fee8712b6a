"""The PyTorch backend of a stage: consecutive blocks with one optimiser and, unless it is the last, a head."""

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from decoupled.errors import RunFailed
from decoupled.nn.optimisers import LearningRate
from decoupled.nn.stage import LossResult, Pass, Quality, Weights
from decoupled.pytorch.arrays import NAMES, to_array, to_tensor, type_of, wait_for
from decoupled.pytorch.blocks import Block, Flow, evaluating
from decoupled.pytorch.heads.interface import Head
from decoupled.pytorch.losses import Loss, correct, summed
from decoupled.pytorch.optimisers import Optimiser
from decoupled.pytorch.weights import KeptWeights
from decoupled.tensors import Array, Tensors, TensorSpec

HEAD, OPTIMISER = "head.", "optimiser."  # before the names of what belongs to them
UPDATES, PASSES = "updates", "passes"  # that were made
COUNT_MAX = 2**53


class Entrance(torch.autograd.Function):
    """Brings arrays into a stage as tensors that blocks may change in place, with a stand-in that takes their gradient."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, stand_in: Tensor, array: Array, device: torch.device) -> Tensor:
        return to_tensor(array, device)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None


@dataclass(slots=True, eq=False, weakref_slot=True)
class Graph:
    """What a pass keeps for its way back, and for the head."""

    outputs: Flow
    number: int  # of the pass, which decides its random numbers
    x: Tensors = ()  # where it may have to go forward again
    stand_ins: list[Tensor] = field(default_factory=list)  # of the inputs that have a gradient
    is_whole: bool = True  # there is still a way back

    def let_go(self) -> None:
        """Frees all but the outputs."""
        self.outputs = tuple(output.detach() for output in self.outputs)
        self.stand_ins, self.is_whole = [], False


class TorchStage:
    """A Stage over blocks. A pass goes back with the weights that it went forward with, or forward again with today's."""

    def __init__(
        self,
        blocks: dict[int, Block],
        inputs: TensorSpec,
        outputs: TensorSpec,
        optimiser: Optimiser,
        learning_rate: LearningRate,
        loss: Loss,
        task: str,
        seed: int,
        device: torch.device,
        weights: Weights = Weights.AT_FORWARD,
        precision: AbstractContextManager[object] | None = None,
        head: Head | None = None,
        read: Flow = (),
    ) -> None:
        """`blocks` are by their place in the whole model. `precision` is what they are computed under, such as autocast.

        `read` is what heads read of the last stage: there, its parameters; elsewhere, tensors of their types and shapes.
        """
        self.inputs, self.outputs, self.head = inputs, outputs, head
        self.version = 0
        self._blocks, self._seed, self._device = blocks, seed, device
        self._optimiser, self._learning_rate = optimiser, learning_rate
        self._loss, self._task, self._weights = loss, task, weights
        self._precision = precision or nullcontext()
        self._trained = [p for block in blocks.values() for p in block.module.parameters() if p.requires_grad]
        self._trained = list(dict.fromkeys(self._trained))  # a parameter may have two places
        buffers = [buffer for block in blocks.values() for buffer in block.module.buffers()]
        self._kept = KeptWeights(self._trained if weights is Weights.AT_FORWARD else [], buffers)
        self._in_flight = weakref.WeakSet[Graph]()  # passes that may have to go forward again
        self._gradients: list[Tensor | None] = [None] * len(self._trained)
        self._passes = 0  # forward, to train
        self._read = read

    # Forward and back.

    def forward(self, x: Tensors, training: bool = True) -> Pass:
        """Raises RunFailed when the blocks give something else in training than they did in evaluation."""
        if not training:
            with torch.no_grad(), evaluating(self._blocks.values()):
                outputs = self._run(self._tensors(x))
            return Pass(tuple(map(to_array, outputs)))
        self._passes += 1
        graph = self._graph(x, self._passes)
        arrays = self._arrays(graph.outputs)
        if self._weights is Weights.CURRENT:
            graph.x = x
            self._in_flight.add(graph)
        return Pass(arrays, graph)

    def _graph(self, x: Tensors, number: int) -> Graph:
        stand_ins, flowing = list[Tensor](), list[Tensor]()
        for spec, array in zip(self.inputs.arrays, x, strict=True):
            if spec.has_gradient:
                one = torch.empty(1, dtype=type_of(spec.dtype), device=self._device)
                stand_ins.append(one.expand(array.shape).requires_grad_())
                flowing.append(Entrance.apply(stand_ins[-1], array, self._device))
            else:
                flowing.append(to_tensor(array, self._device))
        with self._kept.noted():
            outputs = self._run(tuple(flowing), number)
        wait_for(self._device)
        return Graph(outputs, number, stand_ins=stand_ins)

    def _arrays(self, outputs: Flow) -> Tensors:
        """The outputs as they travel. Raises RunFailed unless they are those that were promised."""
        arrays = tuple(map(to_array, outputs))
        try:
            self.outputs.check(arrays)
        except ValueError as error:
            raise RunFailed(f"A block gives other tensors in training than in evaluation: {error}.") from None
        return arrays

    def _run(self, flowing: Flow, number: int | None = None) -> Flow:
        """Through all blocks; each draws its random numbers from the seed, its place and the pass alone, wherever it is cut."""
        with self._precision:
            for place, block in self._blocks.items():
                if number is not None:
                    torch.manual_seed(hash((self._seed, place, number)) & 0x7FFF_FFFF_FFFF_FFFF)
                flowing = block(flowing)
        return self._as_promised(flowing)

    def _as_promised(self, outputs: Flow) -> Flow:
        """In the types that the next stage was told of: under autocast some modules give others without gradients."""
        pairs = zip(outputs, self.outputs.arrays, strict=False)
        cast = tuple(one.to(type_of(spec.dtype)) if one.is_floating_point() and spec.has_gradient else one for one, spec in pairs)
        return cast if len(cast) == len(outputs) else outputs

    def loss(self, passed: Pass, targets: Tensors) -> LossResult:
        answers, wanted = to_tensor(passed.outputs[0], self._device), to_tensor(targets[0], self._device)
        total = summed(self._loss, answers.requires_grad_(), wanted)
        (gradient,) = torch.autograd.grad(total, answers)
        others = tuple(np.zeros_like(array) for array in self.outputs.differentiable(passed.outputs)[1:])
        return LossResult(
            float(total.detach()) / len(answers), (to_array(gradient), *others), *correct(self._task, answers, wanted)
        )

    def backward(self, passed: Pass, gradients: Tensors, want_dx: bool, keep: bool = False) -> Tensors | None:
        graph: Graph = passed.saved
        way = graph if graph.is_whole else self._again(graph)
        sought = [*self._trained, *(way.stand_ins if want_dx else [])]
        pairs = zip(self.outputs.differentiable(way.outputs), gradients, strict=True)
        ends = [(output, to_tensor(gradient, self._device)) for output, gradient in pairs if output.requires_grad]
        found: Sequence[Tensor | None] = [None] * len(sought)
        if ends and sought:
            outputs, given = zip(*ends, strict=True)
            found = torch.autograd.grad(outputs, sought, given, retain_graph=keep, allow_unused=True)
        count = len(self._trained)
        for index, gradient in enumerate(found[:count]):
            before = self._gradients[index]
            self._gradients[index] = gradient if before is None else before if gradient is None else before + gradient
        flows = [
            torch.zeros_like(stand_in) if dx is None else dx for stand_in, dx in zip(way.stand_ins, found[count:], strict=False)
        ]
        wait_for(self._device)
        if not keep:
            graph.let_go()
        return tuple(map(to_array, flows)) if want_dx else None

    def _again(self, graph: Graph) -> Graph:
        """The same pass with today's weights, by the same random numbers. What follows the data has done so already."""
        buffers = [buffer for block in self._blocks.values() for buffer in block.module.buffers()]
        before = [buffer.clone() for buffer in buffers]
        again = self._graph(graph.x, graph.number)
        for buffer, value in zip(buffers, before, strict=True):
            buffer.data.copy_(value)  # by .data, so that other passes do not take it for a change
        return again

    # The head.

    def synthesize(self, passed: Pass, targets: Tensors) -> Tensors:
        assert self.head is not None, "the last stage has the true gradient and no head"
        return tuple(map(to_array, self.head.synthesize(self._leaving(passed), self._tensors(targets))))

    def refine(self, passed: Pass, targets: Tensors, gradients: Tensors) -> Quality:
        assert self.head is not None, "the last stage has the true gradient and no head"
        factor = self._learning_rate.factor(self.version)
        returned = self._tensors(gradients)
        synthetic = self.head.refine(self._leaving(passed), self._tensors(targets), returned, factor)
        return Quality.of(tuple(map(to_array, synthetic)), gradients)

    def published(self) -> Tensors:
        return tuple(to_array(parameter.detach().clone()) for parameter in self._read) if self.head is None else ()

    def adopt(self, published: Tensors) -> None:
        own = [(tuple(parameter.shape), NAMES[parameter.dtype]) for parameter in self._read]
        if [(array.shape, array.dtype.name) for array in published] != own:
            raise ValueError("this is not the output layer of the network")
        if self.head is not None:
            self.head.adopt(self._tensors(published))

    def _leaving(self, passed: Pass) -> Flow:
        return tuple(output.detach() for output in passed.saved.outputs)

    def _tensors(self, arrays: Tensors) -> Flow:
        return tuple(to_tensor(array, self._device) for array in arrays)

    # Updates.

    def step(self, samples: int) -> None:
        factor = self._learning_rate.factor(self.version)
        self._kept.before_update()
        self._optimiser.step(self._gradients, samples, factor)
        self._gradients = [None] * len(self._trained)
        for graph in self._in_flight:
            graph.let_go()
        self._in_flight.clear()
        if self.head is not None:
            self.head.update(samples, factor)
        self.version += 1
        wait_for(self._device)

    # State.

    def model_state(self) -> dict[str, Array]:
        return {name: to_array(value.clone()) for name, value in self._named().items()}

    def state_dict(self) -> dict[str, Array]:
        of_head = self.head.state() if self.head is not None else {}
        whole = self.model_state() | {OPTIMISER + name: array for name, array in self._optimiser.state().items()}
        whole |= {HEAD + name: array for name, array in of_head.items()}
        return whole | {UPDATES: np.array(self.version), PASSES: np.array(self._passes)}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        of_head, of_optimiser = _under(HEAD, state), _under(OPTIMISER, state)
        own = {name: array for name, array in state.items() if not name.startswith((HEAD, OPTIMISER))}
        counts = [_count(own.pop(name, np.array(-1)), name) for name in (UPDATES, PASSES)]
        named = self._named()
        if odd := sorted(named.keys() ^ own.keys()):
            raise ValueError(f"{odd[0]} is in only one of the two")
        for name, value in named.items():
            mine, theirs = (NAMES[value.dtype], tuple(value.shape)), (own[name].dtype.name, own[name].shape)
            if mine != theirs:
                raise ValueError(f"{name} is {theirs[0]} {theirs[1]} there and {mine[0]} {mine[1]} here")
        self._optimiser.check(of_optimiser)
        if self.head is not None:
            self.head.load(of_head)
        elif of_head:
            raise ValueError("there is a head's state, and the stage has none")
        self._optimiser.load(of_optimiser)
        with torch.no_grad():
            for name, value in named.items():
                value.copy_(to_tensor(own[name], self._device))
        self.version, self._passes = counts

    def _named(self) -> dict[str, Tensor]:
        """What the blocks hold, under the names that an nn.Sequential of the whole model would give."""
        return {
            f"{place}.{name}": value.detach()
            for place, block in self._blocks.items()
            for name, value in block.module.state_dict().items()
        }


def _under(prefix: str, state: dict[str, Array]) -> dict[str, Array]:
    """What has such a name, by the rest of it."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


def _count(array: Array, name: str) -> int:
    """How many there were. Raises ValueError for what is no such number."""
    if array.shape or array.dtype.kind not in "iu" or not 0 <= int(array) <= COUNT_MAX:
        raise ValueError(f"{name} is no number of what was done")
    return int(array)
