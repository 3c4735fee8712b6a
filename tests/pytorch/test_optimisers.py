"""numpy's optimisers are PyTorch's, but for rounding."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from decoupled.nn.optimisers import NAdam
from decoupled.nn.parameters import Pack

pytestmark = pytest.mark.slow


@pytest.fixture
def wide() -> Iterator[None]:
    """PyTorch keeps the product of the momenta in float64 as well."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_nadam_is_that_of_pytorch(momentum: float, wide: None) -> None:
    rng = np.random.default_rng(0)
    packed, optimiser = Pack(rng.standard_normal(101), np.empty(101)), NAdam(momentum)
    theirs = torch.nn.Parameter(torch.tensor(packed.values))
    other = torch.optim.NAdam([theirs], lr=0.01, betas=(momentum, 0.999))

    for _ in range(200):
        gradient = rng.standard_normal(101)
        packed.gradients[:] = gradient * 4
        optimiser.step(packed, samples=4, rate=0.01)
        theirs.grad = torch.tensor(gradient)
        other.step()

    np.testing.assert_allclose(packed.values, theirs.detach().numpy(), rtol=0, atol=1e-12)
