"""The run's network, data and optimiser, as torch has them."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoupled.bench.torch_peer.job import Job
from decoupled.data.dataset import Array, Dataset, as_rows
from decoupled.errors import UsageError
from decoupled.nn.layers import BatchNorm, Dense
from decoupled.nn.network import build_layer
from decoupled.nn.optimisers import Adam, LearningRate
from decoupled.runtime.resolve import ResolvedRun

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "identity": nn.Identity}
LOSS_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # each a sum over outputs and a mean over samples
    "softmax": functional.cross_entropy,
    "sigmoid": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="sum") / len(z),
    "squared": lambda z, y: functional.mse_loss(z, y, reduction="sum") / (2 * len(z)),
}


def network(resolved: ResolvedRun, layers: tuple[int, ...]) -> nn.Sequential:
    """These layers of the network, with the run's initial weights."""
    return nn.Sequential(*(module for index in layers for module in _layer(resolved, index)))


def _layer(resolved: ResolvedRun, index: int) -> Iterator[nn.Module]:
    """Layer `index` as torch has it. Only the dense layer has random initial values."""
    architecture = resolved.architecture
    hidden = index < architecture.layers - 1
    dense = build_layer(architecture, index, resolved.run.seed)[0]
    assert isinstance(dense, Dense)
    yield _linear(dense)
    if hidden and architecture.batch_norm:
        features, dtype = architecture.widths[index + 1], dtype_of(resolved)
        yield nn.BatchNorm1d(features, eps=BatchNorm.EPSILON, momentum=BatchNorm.MOMENTUM, dtype=dtype)
    if hidden:
        yield ACTIVATIONS[architecture.activation]()


def _linear(dense: Dense) -> nn.Linear:
    """The dense layer as torch has it: our weights are D x H, torch's H x D."""
    linear = nn.Linear(*dense.weight.value.shape, bias=dense.bias is not None)
    linear.weight = nn.Parameter(torch.tensor(dense.weight.value.T))
    if dense.bias is not None:
        linear.bias = nn.Parameter(torch.tensor(dense.bias.value))
    return linear


def dtype_of(resolved: ResolvedRun) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[resolved.architecture.dtype]


def arrays_of(resolved: ResolvedRun) -> Dataset:
    """The run's data. Raises UsageError unless it is arrays, from which the peers take their batches themselves."""
    if not isinstance(resolved.dataset, Dataset):
        raise UsageError(f"PyTorch is compared on arrays only, and {resolved.dataset.name} gives batches. Leave --peers out.")
    return resolved.dataset


class Inputs:
    """Rows of the inputs, standardised.

    They stay as they are stored, bytes mostly, and each batch is converted on its own: converting all of them beforehand is
    hardly faster, and would need four times the memory.
    """

    def __init__(self, resolved: ResolvedRun, x: Array) -> None:
        self._x = torch.tensor(as_rows(x))  # a copy, since arrays from files may be read-only
        dtype = resolved.architecture.dtype
        self._mean, self._deviation = (torch.from_numpy(scale.astype(dtype)) for scale in resolved.scaling)

    def __getitem__(self, rows: Array) -> Tensor:
        x = self._x.index_select(0, torch.from_numpy(rows))
        return x.to(self._mean.dtype).sub_(self._mean).div_(self._deviation)


def targets_of(resolved: ResolvedRun, y: Array) -> Tensor:
    """Targets as torch's losses want them."""
    return torch.from_numpy(y).to(torch.int64 if resolved.architecture.loss == "softmax" else dtype_of(resolved))


class Optimiser:
    """The run's optimiser and its learning rate, which decays from update to update."""

    def __init__(self, job: Job, resolved: ResolvedRun, model: nn.Module) -> None:
        run = resolved.run
        self._rate = LearningRate(run.optimiser.decay, resolved.steps_total)
        self._lr, self._steps = run.lr, 0
        self._inner: torch.optim.Optimizer = (
            torch.optim.Adam(model.parameters(), run.lr, (Adam.BETA1, Adam.BETA2), Adam.EPSILON, fused=job.fused)
            if run.optimiser.name == "adam"
            else torch.optim.SGD(model.parameters(), run.lr, run.optimiser.momentum, fused=job.fused)
        )

    def step(self) -> None:
        """One update with the accumulated gradients, which are then cleared."""
        for group in self._inner.param_groups:
            group["lr"] = self._lr * self._rate.factor(self._steps)
        self._inner.step()
        self._inner.zero_grad()
        self._steps += 1
