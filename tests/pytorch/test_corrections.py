"""A pass that goes back twice: from a guess at once, and later from what the guess missed."""

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from decoupled.nn.stage import Weights  # noqa: E402
from tests.pytorch.stages import floats, gradients_like, sums_of, update  # noqa: E402
from tests.pytorch.test_weights import KINDS, made  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("weights", list(Weights))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_two_parts_make_the_whole(kind: Callable[[], nn.Module], weights: Weights) -> None:
    """Of the inputs' gradients, and of the sums; with updates in between where the pass keeps its weights."""
    (stage, shape), (still, _) = made(kind, weights), made(kind, weights)
    x = (floats(0, *shape),)
    expected = still.forward(x)
    true, guess = gradients_like(expected, 1), gradients_like(expected, 2)
    dx = still.backward(expected, true, want_dx=True)

    passed = stage.forward(x)
    first = stage.backward(passed, guess, want_dx=True, keep=True)
    early = sums_of(stage)
    if weights is Weights.AT_FORWARD:
        stage.step(len(x[0]))
        for seed in range(2):
            update(stage, (floats(10 + seed, *shape),), seed)
    else:
        stage._gradients = [None] * len(early)
    second = stage.backward(passed, tuple(t - g for t, g in zip(true, guess, strict=True)), want_dx=True)

    assert dx is not None
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first[0] + second[0], dx[0], rtol=1e-3, atol=1e-4)
    for one, other, sums in zip(early, sums_of(stage), sums_of(still), strict=True):
        if sums is not None:
            assert one is not None
            assert other is not None
            np.testing.assert_allclose(one + other, sums, rtol=1e-3, atol=1e-3)
