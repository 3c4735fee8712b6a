"""Late gradients: a pass goes back with the weights that it went forward with, or forward again with today's."""

import gc
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoupled.nn.stage import Weights
from decoupled.pytorch.stage import TorchStage
from decoupled.tensors import TensorSpec
from tests.pytorch.stages import a_stage, floats, gradients_like, sums_of, update

pytestmark = pytest.mark.slow

VECTORS, IMAGES = TensorSpec.of("float32", 6), TensorSpec.of("float32", 2, 8, 8)


class Turned(nn.Module):
    """A weight that lies transposed in memory, and is used as a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 5).t())

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight) @ self.weight[:, 1:4]


class Tied(nn.Module):
    """One weight in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(torch.tanh(self.one(x)))


class OneMemory(nn.Module):
    """Two weights in one piece of memory, of which neither begins at its beginning."""

    def __init__(self) -> None:
        super().__init__()
        memory = torch.randn(100)
        self.one, self.other = (nn.Parameter(memory[at : at + 36].view(6, 6)) for at in (7, 55))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.one) @ self.other


class InPlace(nn.Module):
    """Changes what comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2).relu_()


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3), nn.Flatten())


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.3, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), layer, nn.Flatten())


def parametrised() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))


def partly_frozen() -> nn.Module:
    made = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    made[0].requires_grad_(False)
    return made


def with_dropout() -> nn.Module:
    return nn.Sequential(InPlace(), nn.Linear(6, 5), nn.Dropout(0.4), nn.Linear(5, 4))


class Counts(nn.Module):
    """Multiplies by a buffer that every pass changes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("passes", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes.add_(1)
        return torch.tanh(self.linear(x)) * self.passes


KINDS = [Turned, Tied, OneMemory, convolutions, attention, parametrised, partly_frozen, with_dropout, Counts]


def made(
    kind: Callable[[], nn.Module], weights: Weights = Weights.AT_FORWARD, dtype: str = "float32"
) -> tuple[TorchStage, tuple[int, ...]]:
    """A stage, and the shape of its inputs."""
    torch.manual_seed(0)
    inputs = IMAGES if kind is convolutions else VECTORS
    shape = (4, *(length or 0 for length in inputs.arrays[0].shape))
    return a_stage(kind(), inputs=inputs, weights=weights, dtype=dtype), shape


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_late_gradient_is_that_of_a_model_that_stood_still(kind: Callable[[], nn.Module], dtype: str) -> None:
    """To the last bit, for each of three passes with updates in between; also under autocast, which casts the weights."""
    (stage, shape), (still, _) = made(kind, dtype=dtype), made(kind, dtype=dtype)
    held = []
    for seed in range(3):
        x = (floats(seed, *shape),)
        still.load_state_dict(stage.state_dict())
        expected = still.forward(x)
        dx = still.backward(expected, gradients_like(expected, seed), want_dx=True)
        held.append((stage.forward(x), dx, sums_of(still)))
        still._gradients = [None] * len(still._gradients)
        update(stage, (floats(10 + seed, *shape),), seed)

    for seed, (passed, dx, sums) in enumerate(held):
        found = stage.backward(passed, gradients_like(passed, seed), want_dx=True)
        assert found is not None
        assert dx is not None
        np.testing.assert_array_equal(found[0], dx[0])
        for one, other in zip(sums_of(stage), sums, strict=True):
            np.testing.assert_array_equal(one, other)
        stage._gradients = [None] * len(stage._gradients)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_forward_again_gives_the_gradient_of_todays_weights_and_follows_the_data_once(kind: Callable[[], nn.Module]) -> None:
    (stage, shape), (still, _) = made(kind, Weights.CURRENT), made(kind)
    x = (floats(0, *shape),)
    late = stage.forward(x)
    for seed in range(2):
        update(stage, (floats(10 + seed, *shape),), seed)
    state = stage.state_dict()
    still.load_state_dict(state | {"passes": np.array(0)})  # the same random numbers
    expected = still.forward(x)
    dx = still.backward(expected, gradients_like(expected, 5), want_dx=True)

    found = stage.backward(late, gradients_like(late, 5), want_dx=True)

    assert found is not None
    assert dx is not None
    np.testing.assert_array_equal(found[0], dx[0])
    for one, other in zip(sums_of(stage), sums_of(still), strict=True):
        np.testing.assert_array_equal(one, other)
    after = stage.state_dict()
    assert all((after[name] == array).all() for name, array in state.items())


class Counted:
    """How many copies of weights are alive, by the memory that `clone` gave out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        self._clone = torch.UntypedStorage.clone
        monkeypatch.setattr(torch.UntypedStorage, "clone", lambda storage: self._cloned(storage))

    def _cloned(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        self.bytes += storage.nbytes()
        return self._clone(storage)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def linear() -> TorchStage:
    return a_stage(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), inputs=VECTORS)


def test_a_pass_that_went_back_before_the_update_costs_no_copy(counted: Counted) -> None:
    stage = linear()
    for seed in range(3):
        update(stage, (floats(seed, 4, 6),), seed)
    kept = stage.forward((floats(3, 4, 6),))  # as under bootstrapped feedback: it is kept for the head
    stage.backward(kept, gradients_like(kept, 3), want_dx=False)
    stage.step(4)

    assert counted.bytes == 0


def test_passes_of_one_version_share_one_copy_of_what_they_need(counted: Counted) -> None:
    """Of both weights, and of no bias, which no way back needs."""
    stage = linear()
    held = [stage.forward((floats(seed, 4, 6),)) for seed in range(3)]
    update(stage, (floats(9, 4, 6),), 9)
    update(stage, (floats(8, 4, 6),), 8)

    assert counted.bytes == 4 * (6 * 5 + 5 * 4)
    assert len(held) == 3


def test_a_copy_is_freed_with_the_last_pass_that_needs_it() -> None:
    stage = linear()
    held = [stage.forward((floats(seed, 4, 6),)) for seed in range(2)]
    version = stage._kept._newest
    assert version is not None
    update(stage, (floats(9, 4, 6),), 9)

    stage.backward(held[0], gradients_like(held[0], 0), want_dx=False)
    del held[0]
    gc.collect()
    assert version() is not None
    held.clear()
    gc.collect()
    assert version() is None


def test_forward_again_keeps_no_copy_and_no_graph(counted: Counted) -> None:
    stage = a_stage(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), inputs=VECTORS, weights=Weights.CURRENT)
    held = stage.forward((floats(0, 4, 6),))
    assert held.saved.outputs[0].grad_fn is not None

    update(stage, (floats(9, 4, 6),), 9)

    assert counted.bytes == 0
    assert held.saved.outputs[0].grad_fn is None


class Spoils(nn.Module):
    """Changes in place what its own way back needs."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.exp(x)
        return y + y.mul_(2)


def test_a_block_that_spoils_its_own_way_back_is_told_so() -> None:
    stage = a_stage(nn.Linear(6, 5), Spoils(), inputs=VECTORS)
    passed = stage.forward((floats(0, 4, 6),))

    with pytest.raises(RuntimeError, match="changed a tensor in place that its way back needs"):
        stage.backward(passed, gradients_like(passed, 0), want_dx=False)
