"""The prediction: what the simulator makes of a run on emulated devices."""

from typing import Any

import pytest

from decoupled.bench import prediction
from decoupled.bench.messages import solved
from decoupled.bench.prediction import FREE, Messages
from decoupled.runtime.resolve import ResolvedRun
from tests.bench.cases import drawn
from tests.datasets import blobs

DEVICE: dict[str, Any] = {"device_ms": 30.0}  # 10 ms for each product of a layer


def predicted(schedule: str, messages: Messages = FREE, **values: Any) -> float | None:
    """The rate of a small run with these values, in samples/s."""
    return prediction.samples_per_s(drawn(schedule=schedule, **{"emulation": DEVICE} | values), 4, messages)


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


def test_a_slow_device_takes_as_many_times_as_long() -> None:
    """Of the products of 10 ms each, the three of the second layer take 20."""
    assert predicted("lockstep", emulation=DEVICE | {"straggler": 1, "straggler_factor": 2.0}) == pytest.approx(20 / 0.110)


@pytest.mark.parametrize("trouble", [{"loss": 0.1}, {"kill_every_s": 30.0}])
def test_nothing_is_predicted_where_chance_or_kills_decide(trouble: dict[str, float]) -> None:
    assert predicted("lockstep", emulation=DEVICE | trouble) is None


def test_lockstep_waits_for_the_bytes_of_its_messages() -> None:
    """20 rows of float32 and their targets down, without the targets up, through the two links; some 300 bytes more each."""
    down, up = 2 * 20 * 8 + 20 * (16 + 12) * 4, 20 * (16 + 12) * 4
    wire_s = (down + up + 4 * 300) * 8 / 0.5e6

    found = predicted("lockstep", emulation=DEVICE | {"bandwidth_mbit": 0.5})

    assert found == pytest.approx(20 / (0.080 + wire_s), rel=0.01)


def test_messages_cost_each_of_them_and_each_byte() -> None:
    assert predicted("lockstep", Messages(each_ns=1e6)) == pytest.approx(20 / 0.084)


@pytest.mark.parametrize("cost", [Messages(0.4e6, 300.0), Messages(1e6, 0.0), FREE])
def test_what_messages_cost_is_found_from_the_rates_of_lockstep(cost: Messages) -> None:
    runs = [drawn(schedule="lockstep", batch=batch, emulation={"device_ms": 30.0 * batch / 20}) for batch in (20, 5)]
    rates = [prediction.samples_per_s(run, 3, cost) for run in runs]

    found = solved(*((run, rate) for run, rate in zip(runs, rates, strict=True) if rate is not None))

    assert found.each_ns == pytest.approx(cost.each_ns + 300 * cost.byte_ns, abs=1e3)  # 300 bytes beside the arrays
    assert found.byte_ns == pytest.approx(cost.byte_ns, abs=0.01)


def test_one_slower_link_makes_lockstep_wait_twice() -> None:
    """The second link between stages takes three times as long as the others, down and up."""
    found = predicted("lockstep", emulation=DEVICE | {"latency_ms": 5.0, "link_factors": (1.0, 3.0)})

    assert found == pytest.approx(20 / (0.080 + 2 * 0.005 + 2 * 0.015))


@pytest.mark.parametrize(("schedule", "measured"), [("gpipe", 9_149), ("1f1b", 9_360), ("dni", 54_172)])
def test_rates_that_were_measured_on_sixteen_emulated_devices_are_met(schedule: str, measured: float) -> None:
    """Of docs/benchmarks.md. Its lockstep says what a message of a whole batch costs; 0.24 ns a byte is the copying of it."""
    values = {"hidden": (256,) * 15, "batch": 1000, "epochs": 2, "emulation": {"device_ms": 20.0}}
    data = blobs(train=20_000, test=1000, features=256)
    lockstep = drawn(data, schedule="lockstep", **values)
    each_ns = (1e12 / 2_979 - 1e12 / (prediction.samples_per_s(lockstep, 5) or 0)) / 30 - 0.24 * message_bytes(lockstep)
    run = drawn(data, schedule=schedule, microbatches=None if schedule == "dni" else 4, **values)

    found = prediction.samples_per_s(run, 5, Messages(each_ns, 0.24))

    assert found == pytest.approx(measured, rel=0.06)


def message_bytes(resolved: ResolvedRun) -> float:
    sizes = prediction.message_sizes(resolved)
    return (sizes.activation + sizes.gradient) / 2
