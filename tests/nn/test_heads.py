"""Heads: silent at first, then right; the sign of their learning is the one that the tutorial has wrong."""

from collections.abc import Callable

import numpy as np
import pytest

from decoupled.nn.heads import MLP, Head, HeadSite, Linear, Readout
from decoupled.nn.losses import LOSSES, Loss
from decoupled.nn.parameters import Array
from decoupled.nn.stage import Quality
from tests.nn.gradients import numeric
from tests.nn.targets import TARGETS

B, H, C = 64, 12, 4
LOSS = LOSSES["softmax"]()


def site(loss: Loss = LOSS, rate: float = 1e-2) -> HeadSite:
    return HeadSite(H, C, loss, rate, np.random.default_rng(0), np.float64)


HEADS: dict[str, Callable[[], Head]] = {
    "readout": lambda: Readout(site(), width=0),
    "narrow readout": lambda: Readout(site(), width=8),
    "linear": lambda: Linear(site(), sees_label=False),
    "linear-label": lambda: Linear(site(), sees_label=True),
    "mlp-label": lambda: MLP(site(), hidden=64),
}


def quality(synthetic: Array, returned: Array) -> Quality:
    return Quality.of((synthetic,), (returned,))


def batch(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal((B, H)), 0), rng.integers(0, C, B)


@pytest.mark.parametrize("name", HEADS)
def test_an_untrained_head_moves_nothing(name: str) -> None:
    h, y = batch(0)

    assert not HEADS[name]().synthesize(h, y).any()


@pytest.mark.parametrize(("name", "least_cosine"), [("linear", 0.98), ("linear-label", 0.98), ("mlp-label", 0.9)])
def test_a_regression_head_converges_on_a_fixed_target(name: str, least_cosine: float) -> None:
    """With the tutorial's sign (+=) the error grows without bound instead."""
    head, mixing = HEADS[name](), np.random.default_rng(9).standard_normal((H, H))
    for step in range(600):
        h, y = batch(step)
        head.refine(h, y, h @ mixing, decay=1.0)
    h, y = batch(10_000)

    assert quality(head.synthesize(h, y), h @ mixing).cosine > least_cosine


@pytest.mark.parametrize("name", ["linear-label", "mlp-label"])
def test_a_regression_head_does_not_care_about_the_scale_of_gradients(name: str) -> None:
    """A target of size 1e-3 is learnt as fast as one of size 1."""
    errors = []
    for size in (1.0, 1e-3):
        head, mixing = HEADS[name](), np.random.default_rng(9).standard_normal((H, H)) * size
        for step in range(100):
            h, y = batch(step)
            head.refine(h, y, h @ mixing, decay=1.0)
        h, y = batch(10_000)
        errors.append(quality(head.synthesize(h, y), h @ mixing).relative_error)

    assert errors[0] == pytest.approx(errors[1], rel=0.05)


@pytest.mark.parametrize("name", ["readout", "narrow readout"])
def test_a_readout_learns_the_direction_of_the_true_gradient_from_its_own_loss(name: str) -> None:
    """The stage below a linear softmax classifier: its true gradient is (p - y) W^T."""
    head, rng = HEADS[name](), np.random.default_rng(3)
    weight = rng.standard_normal((H, C))

    def labelled(seed: int) -> tuple[Array, Array]:
        h, _ = batch(seed)
        return h, (h @ weight).argmax(axis=1)

    for step in range(500):
        h, y = labelled(step)
        head.synthesize(h, y)
        head.update(B, decay=1.0)
    h, y = labelled(10_000)
    true = LOSS.value_and_gradient(h @ weight, y)[1] @ weight.T

    assert quality(head.synthesize(h, y), true).cosine > 0.7


@pytest.mark.parametrize("name", ["readout", "narrow readout"])
def test_returned_gradients_bring_a_readout_closer_to_them(name: str) -> None:
    own, refined, rng = HEADS[name](), HEADS[name](), np.random.default_rng(4)
    weight = rng.standard_normal((H, C))
    for step in range(400):
        h, _ = batch(step)
        y = (h @ weight).argmax(axis=1)
        true = LOSS.value_and_gradient(h @ weight, y)[1] @ weight.T
        own.synthesize(h, y)
        own.update(B, decay=1.0)
        refined.refine(h, y, true, decay=1.0)
    h, _ = batch(10_000)
    y = (h @ weight).argmax(axis=1)
    true = LOSS.value_and_gradient(h @ weight, y)[1] @ weight.T

    assert quality(refined.synthesize(h, y), true).relative_error < quality(own.synthesize(h, y), true).relative_error


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("width", [0, 8])
def test_a_readout_gives_the_gradient_of_its_own_small_loss(loss: str, width: int) -> None:
    """Its synthetic gradient is the derivative of the head's loss with respect to the activation, for every link."""
    head = Readout(site(LOSSES[loss](), rate=1e-1), width, feedback_weight=0.0)
    h, y = np.random.default_rng(5).standard_normal((6, H)), TARGETS[loss]
    for _ in range(5):
        head.synthesize(h, y)
        head.update(6, decay=1.0)

    synthetic = head.synthesize(h, y)

    def own_loss() -> float:
        return float(LOSSES[loss]().value_and_gradient(head.read(h)[1], y)[0])

    np.testing.assert_allclose(synthetic, 6 * numeric(own_loss, h), atol=1e-6)


def test_quality_of_equal_opposite_and_absent_gradients() -> None:
    g = np.array([[3.0, 4.0]])

    assert quality(g, g) == Quality(1.0, 1.0, 0.0)
    assert quality(-2 * g, g).cosine == pytest.approx(-1.0)
    assert quality(-2 * g, g).relative_error == pytest.approx(3.0)
    assert quality(np.zeros((1, 2)), g) == Quality(0.0, 0.0, 1.0)
    assert quality(g, np.zeros((1, 2))) == Quality(0.0, 0.0, 0.0)
