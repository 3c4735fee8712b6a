"""Networks as a user would write them: some that work, and some that are refused with a sentence."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoupled.nn.model import ModelSite


def features(spec: ModelSite) -> int:
    return spec.inputs.arrays[0].shape[0] or 0


class Split(nn.Module):
    """Two tensors of one: vectors, and how many of them are positive."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, (x > 0).sum(1)


class Counted(nn.Module):
    """Takes both, and gives vectors alone, so that the counts pass by."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.by_count = nn.Linear(width, width), nn.Embedding(width + 1, width)

    def forward(self, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        return torch.relu(self.linear(x) + self.by_count(count)), count


class Beside(nn.Module):
    """Hands its input on beside its output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.linear(x)), x


class Add(nn.Module):
    def forward(self, x: Tensor, skipped: Tensor) -> tuple[Tensor]:
        return (x + skipped,)


class Last(nn.Module):
    """Takes all that is left, and answers from the first."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)

    def forward(self, *flowing: Tensor) -> Any:
        return self.linear(flowing[0])


def several(spec: ModelSite) -> list[nn.Module]:
    """Tensors of whole numbers and a skip connection cross the cuts, and some pass by blocks that do not take them."""
    width = features(spec)
    return [Split(), Counted(width), Beside(width), nn.Linear(width, width), Add(), Last(width, spec.outputs)]


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2).add_(1).relu_()


def in_place(spec: ModelSite) -> nn.Sequential:
    width = features(spec)
    return nn.Sequential(InPlace(), nn.Linear(width, 8), InPlace(), nn.Linear(8, 8), InPlace(), nn.Linear(8, spec.outputs))


class Turned(nn.Module):
    """Gives a tensor whose memory is not in order."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, (1, 1)).t().contiguous().t()


def not_in_order(spec: ModelSite) -> list[nn.Module]:
    width = features(spec) + 2
    return [Turned(), nn.Linear(width, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, spec.outputs))]


def with_hooks(spec: ModelSite) -> list[nn.Module]:
    """A module's hook halves what it gives."""
    first = nn.Linear(features(spec), 8)
    first.register_forward_hook(lambda module, given, output: output / 2)
    return [first, nn.ReLU(), nn.Linear(8, spec.outputs)]


def frozen(spec: ModelSite, which: int) -> list[nn.Module]:
    """The parameters of one block are not trained."""
    width = features(spec)
    blocks = [nn.Linear(width, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 8)), nn.Linear(8, spec.outputs)]
    blocks[which].requires_grad_(False)
    return blocks


def lazy(spec: ModelSite) -> list[nn.Module]:
    return [nn.LazyLinear(8), nn.Sequential(nn.ReLU(), nn.LazyLinear(spec.outputs))]


def weight_norm(spec: ModelSite) -> list[nn.Module]:
    norm = nn.utils.parametrizations.weight_norm
    return [norm(nn.Linear(features(spec), 8)), nn.Sequential(nn.ReLU(), norm(nn.Linear(8, spec.outputs)))]


def shared_in_a_stage(spec: ModelSite) -> list[nn.Module]:
    """Blocks 1 and 2 share a weight."""
    one, other = nn.Linear(8, 8), nn.Linear(8, 8)
    other.weight = one.weight
    return [nn.Linear(features(spec), 8), one, other, nn.Linear(8, spec.outputs)]


# What is refused.


class Gives(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Any:
        return {"none": None, "number": 1.5, "dict": {"x": x}, "mean": x.mean(), "row": x[0], "complex": x.to(torch.complex64)}[
            self.what
        ]


def gives(spec: ModelSite, what: str) -> list[nn.Module]:
    return [nn.Linear(features(spec), 8), Gives(what), nn.Linear(8, spec.outputs)]


class OnlyInTraining(nn.Module):
    """Goes wrong, or gives something else, in training alone."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails

    def forward(self, x: Tensor) -> Any:
        if not self.training:
            return x
        if self.fails:
            raise KeyError("no key\nand more lines")
        return x, x


def only_in_training(spec: ModelSite, fails: bool) -> list[nn.Module]:
    return [nn.Linear(features(spec), 8), OnlyInTraining(fails), nn.Linear(8, spec.outputs)]


class WithSparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 8, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table.weight.sum()


def sparse_embedding(spec: ModelSite) -> list[nn.Module]:
    return [nn.Linear(features(spec), 8), WithSparse(), nn.Linear(8, spec.outputs)]


def parameter_hook(spec: ModelSite) -> list[nn.Module]:
    first = nn.Linear(features(spec), 8)
    first.weight.register_hook(lambda gradient: gradient / 2)
    return [first, nn.Linear(8, spec.outputs)]


class ExtraState(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"any": "thing"}

    def set_extra_state(self, state: Any) -> None:
        """Nothing."""


def extra_state(spec: ModelSite) -> list[nn.Module]:
    return [ExtraState(features(spec), 8), nn.Linear(8, spec.outputs)]


def no_fit(spec: ModelSite) -> list[nn.Module]:
    return [nn.Linear(features(spec), 8), nn.Linear(9, spec.outputs)]


def too_few(spec: ModelSite) -> list[nn.Module]:
    return [nn.Linear(features(spec), 8), Add(), nn.Linear(8, spec.outputs)]


# Beside models.


def own_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with smoothed labels, a mean."""
    return functional.cross_entropy(outputs, targets, label_smoothing=0.1)


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """The same for each sample."""
    return functional.cross_entropy(outputs, targets, label_smoothing=0.1, reduction="none")


def make_loss() -> Any:
    return own_loss


def make_losses() -> Any:
    return losses


def rmsprop(parameters: Any, lr: float, alpha: float = 0.99) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr=lr, alpha=alpha)


def no_optimiser(parameters: Any, lr: float) -> str:
    return "none"


def needs_a_closure(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(parameters, lr=lr)


class Whole(nn.Module):
    """Whole numbers of what comes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.long()


def answers(spec: ModelSite, count: int, are_whole: bool = False) -> list[nn.Module]:
    """So many, whatever is asked for."""
    last = nn.Linear(8, count)
    return [nn.Linear(features(spec), 8), nn.Sequential(last, Whole()) if are_whole else last]
