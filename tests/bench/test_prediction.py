"""The prediction: what the simulator makes of a run on emulated devices."""

from typing import Any

import pytest

from decoupled.bench import prediction
from tests.bench.cases import drawn
from tests.datasets import blobs

DEVICE: dict[str, Any] = {"device_ms": 30.0}  # 10 ms for each product of a layer


def predicted(schedule: str, **values: Any) -> float | None:
    """The rate of a small run with these values, in samples/s."""
    return prediction.samples_per_s(drawn(schedule=schedule, **{"emulation": DEVICE} | values), warm_up=4)


@pytest.mark.parametrize(("latency_ms", "batch_ms"), [(0.0, 80.0), (5.0, 100.0)])
def test_lockstep_takes_the_time_of_all_products_and_messages(latency_ms: float, batch_ms: float) -> None:
    """Three layers of three products of 10 ms each but one that the first layer does not need, and four messages."""
    assert predicted("lockstep", emulation=DEVICE | {"latency_ms": latency_ms}) == pytest.approx(20 / batch_ms * 1000)


def test_one_process_with_all_the_layers_takes_as_long_as_lockstep_without_latency() -> None:
    assert predicted("single") == pytest.approx(20 / 0.080)


def test_a_block_of_layers_takes_the_time_of_all_of_them() -> None:
    assert predicted("lockstep", stages=((0, 1), (2,))) == pytest.approx(20 / 0.080)


def test_gpipe_overlaps_its_microbatches() -> None:
    """In units of a product for one of 2 microbatches: the forward passes reach the last of 3 stages after 2 units, the
    second is done after 4; then 2 backward passes of 2 units each there, the second's way up to the first stage, whose
    own takes 1 unit; the update follows. 4 + 4 + 2 + 1 = 11 units of 5 ms.
    """
    assert predicted("gpipe", microbatches=2) == pytest.approx(20 / 0.055)


@pytest.mark.parametrize(("schedule", "microbatches"), [("async1f1b", 1), ("2bw", 2), ("2bw", 4)])
def test_without_a_flush_the_slowest_device_sets_the_pace(schedule: str, microbatches: int) -> None:
    """The second and the third layer need three products for each batch."""
    assert predicted(schedule, microbatches=microbatches, epochs=10) == pytest.approx(20 / 0.030)


def test_dni_beats_lockstep_and_not_its_devices() -> None:
    """The slowest stage needs two products for each batch, and its head little beside so large a layer."""
    found = predicted("dni", epochs=10, dataset=blobs(features=512), hidden=(512, 512))

    assert found is not None
    assert 20 / 0.080 < found <= 20 / 0.020


def test_the_products_of_dnis_heads_count() -> None:
    """The head beside a layer of 6 x 16 has matrices of 16 x 32 and 32 x 3. It needs three products of each to synthesize
    for 3 batches of 4, and one more of the first to refine, for the fourth; the layer needs two of its own for each batch.
    """
    layer, narrow, thin = 6 * 16, 16 * 32, 32 * 3
    synthesize, refine = 3 * (narrow + thin) / layer, (4 * narrow + 3 * thin) / layer

    found = predicted("dni", feedback_every=4, epochs=10)

    assert found == pytest.approx(20 / (0.010 * (2 + (3 * synthesize + refine) / 4)), rel=0.01)


def test_nothing_is_predicted_for_devices_that_are_real() -> None:
    assert predicted("lockstep", emulation={}) is None


def test_nothing_is_predicted_for_devices_of_which_one_is_slower() -> None:
    assert predicted("lockstep", emulation=DEVICE | {"straggler": 1, "straggler_factor": 2.0}) is None
