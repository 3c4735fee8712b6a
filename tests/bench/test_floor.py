"""The floor: which products are counted, and the rate that they come to."""

import math
from collections import defaultdict
from typing import Any

import pytest

from decoupled.bench import floor
from tests.bench.cases import drawn
from tests.datasets import blobs
from tests.runtime.test_resolve import toy

OUTPUTS_AND_WEIGHTS = {  # of batches of 20 through layers of 6, 16, 12 and 3
    (20, 6, 16): 1.0,
    (6, 20, 16): 1.0,
    (20, 16, 12): 1.0,
    (16, 20, 12): 1.0,
    (20, 12, 3): 1.0,
    (12, 20, 3): 1.0,
}
SECOND, THIRD = (20, 12, 16), (20, 3, 12)  # the gradients of these layers' inputs; the first layer needs none


def shares(**values: Any) -> dict[tuple[int, int, int], float]:
    """How often a batch needs each product."""
    found: dict[tuple[int, int, int], float] = defaultdict(float)
    for product in floor.products(drawn(**values)):
        found[product.m, product.k, product.n] += product.share
    return found


@pytest.mark.parametrize("schedule", ["single", "lockstep", "gpipe", "1f1b", "2bw"])
def test_backprop_needs_three_products_for_a_layer_and_two_for_the_first(schedule: str) -> None:
    assert shares(schedule=schedule) == OUTPUTS_AND_WEIGHTS | {SECOND: 1.0, THIRD: 1.0}


@pytest.mark.parametrize(("every", "share"), [(4, 0.25), (2, 0.5), (1, 1.0)])
def test_dni_needs_the_inputs_gradient_only_for_the_batches_whose_gradient_goes_back(every: int, share: float) -> None:
    assert shares(schedule="dni", feedback_every=every) == OUTPUTS_AND_WEIGHTS | {SECOND: share, THIRD: share}


@pytest.mark.parametrize(
    ("stages", "second", "third"), [(((0,), (1, 2)), 0.25, 1.0), (((0, 1), (2,)), 1.0, 0.25), (((0, 1, 2),), 1.0, 1.0)]
)
def test_within_a_block_of_layers_dni_needs_every_gradient(
    stages: tuple[tuple[int, ...], ...], second: float, third: float
) -> None:
    found = shares(schedule="dni", feedback_every=4, stages=stages)

    assert found == OUTPUTS_AND_WEIGHTS | {SECOND: second, THIRD: third}


@pytest.mark.parametrize(("schedule", "products"), [("lockstep", 8.0), ("dni", 6.5)])
def test_the_rate_is_that_of_all_cores_with_nothing_but_products(
    schedule: str, products: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floor, "cores", lambda: 2)
    monkeypatch.setattr(floor, "_seconds", lambda m, k, n, dtype, at: 0.001)

    assert floor.samples_per_s(drawn(schedule=schedule), 0) == pytest.approx(2 * 20 / (products * 0.001))


def test_a_measured_floor_is_a_rate_and_higher_for_dni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor, "ROUNDS", 1)
    data = blobs(features=128, classes=128, train=256)
    lockstep, dni = (drawn(data, schedule=name, hidden=(128,), batch=128) for name in ("lockstep", "dni"))

    rate = floor.samples_per_s(lockstep, 7)

    assert math.isfinite(rate)
    assert 0 < rate < floor.samples_per_s(dni, 7), "both from the same measured products, of which dni needs fewer"
    assert floor.samples_per_s(lockstep, 7) == rate, "measured once in a round"


def test_it_is_known_of_products_that_are_computed_alone() -> None:
    assert floor.is_known(drawn())
    assert not floor.is_known(drawn(emulation={"device_ms": 1}))
    assert not floor.is_known(toy())
