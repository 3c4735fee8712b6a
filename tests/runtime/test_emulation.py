"""Emulated hardware: the waits that are asked for, noted instead of waited."""

import numpy as np
import pytest

from decoupled.config import EmulationOptions, Run
from decoupled.nn.dense import DenseStage
from decoupled.nn.parameters import Array
from decoupled.runtime.assignment import Assignment, assign, make_stage
from decoupled.runtime.emulation import Device, EmulatedStage, Straggler, build_stage
from decoupled.runtime.resolve import resolve
from decoupled.runtime.single import train_single
from decoupled.schedules.catalogue import NAMES
from tests.cluster import Cluster
from tests.datasets import blobs

BATCH, DEVICE_MS = 20, 30.0
PRODUCT_S = 0.010  # a third of what a layer takes for a whole batch


def assigned(stage: int, **values: object) -> Assignment:
    run = Run(**{"hidden": (16, 12, 8), "batch": BATCH, "epochs": 1} | values)
    return assign(resolve(run, blobs()), stage)


class Host:
    """Where a stage runs: sleeping is noted and moves the clock, and so does work."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def slow(factor: float, **values: float) -> EmulationOptions:
    return EmulationOptions(straggler=0, straggler_factor=factor, **values)


def emulated(stage: int, host: Host, **values: object) -> EmulatedStage:
    made = build_stage(assigned(stage, emulation={"device_ms": DEVICE_MS}, **values), host.sleep, host.clock)
    assert isinstance(made, EmulatedStage)
    return made


def inputs(rows: int, width: int) -> Array:
    return np.zeros((rows, width), np.float32)


@pytest.mark.parametrize("rows", [BATCH, BATCH // 4, 1])
@pytest.mark.parametrize("want_dx", [False, True])
def test_each_product_takes_its_share_of_the_devices_time(rows: int, want_dx: bool) -> None:
    host = Host()
    stage = emulated(1, host)

    passed = stage.forward((inputs(rows, 16),))
    dx = stage.backward(passed, (inputs(rows, 12),), want_dx)

    product_s = PRODUCT_S * rows / BATCH
    assert host.waits == pytest.approx([product_s, product_s * (2 if want_dx else 1)])
    assert passed.outputs[0].shape == (rows, 12)
    assert (None if dx is None else dx[0].shape) == ((rows, 16) if want_dx else None)


@pytest.mark.parametrize(("want_dx", "products_back"), [(True, 6), (False, 5)])
def test_a_block_of_layers_takes_the_time_of_all_of_them(want_dx: bool, products_back: int) -> None:
    """Within the block the gradient has to come down in any case."""
    host = Host()
    stage = emulated(1, host, stages=((0,), (1, 2, 3)))

    passed = stage.forward((inputs(BATCH, 16),))
    stage.backward(passed, (inputs(BATCH, 3),), want_dx)

    assert host.waits == pytest.approx([3 * PRODUCT_S, products_back * PRODUCT_S])
    assert passed.outputs[0].shape == (BATCH, 3)


def test_evaluation_and_updates_cost_nothing_on_an_emulated_device() -> None:
    host = Host()
    stage = emulated(0, host)

    stage.forward((inputs(5, 6),), training=False)
    stage.step(5)

    assert host.waits == []


def test_the_head_takes_its_multiplications_share_of_the_layers_product() -> None:
    """A readout of 3 classes without a narrow layer on 16 x 12 weights: 3 thin products to synthesize, 4 to refine."""
    host = Host()
    stage = emulated(1, host, heads={"width": 0})
    passed = stage.forward((inputs(BATCH, 16),), training=False)
    targets = (np.zeros(BATCH, np.int64),)

    stage.synthesize(passed, targets)
    stage.refine(passed, targets, (inputs(BATCH, 12),))

    assert host.waits == pytest.approx([PRODUCT_S * 3 * 12 * 3 / (16 * 12), PRODUCT_S * 4 * 12 * 3 / (16 * 12)])


def test_an_emulated_device_passes_on_what_its_stage_would() -> None:
    """In the network's own type, and as the next stage expects it."""
    stage = emulated(1, Host(), network={"dtype": "float64"})
    x, targets = stage.inputs.zeros(BATCH), (np.zeros(BATCH, np.int64),)

    passed = stage.forward(x)
    stage.outputs.check(passed.outputs)
    stage.outputs.check(stage.synthesize(passed, targets))
    stage.inputs.check(stage.backward(passed, passed.outputs, want_dx=True) or ())

    assert x[0].dtype == passed.outputs[0].dtype == np.float64


def test_updates_are_counted_and_change_nothing() -> None:
    assignment = assigned(0, emulation={"device_ms": DEVICE_MS})
    stage, real = build_stage(assignment, lambda seconds: None), make_stage(assignment)
    versions = [stage.version]

    for _ in range(3):
        stage.step(BATCH)
        versions.append(stage.version)

    assert versions == [0, 1, 2, 3]
    arrays = stage.model_state()
    assert arrays.keys() == real.model_state().keys()
    assert all((arrays[name] == array).all() for name, array in real.model_state().items())


def test_what_the_host_does_between_two_calls_takes_no_time_of_the_device() -> None:
    """As a device with a queue goes on while its host prepares the next call."""
    host = Host()
    stage = emulated(1, host)
    began = host.now

    for _ in range(10):
        stage.forward((inputs(BATCH, 16),))
        host.work(0.0004)

    assert host.now - began == pytest.approx(10 * PRODUCT_S + 0.0004)


def test_a_device_that_has_had_nothing_to_do_begins_when_it_is_asked() -> None:
    host = Host()
    stage = emulated(1, host)

    for _ in range(3):
        stage.forward((inputs(BATCH, 16),))
        host.work(1.0)

    assert host.waits == pytest.approx([PRODUCT_S] * 3)


def test_a_straggler_takes_its_factor_as_long_for_everything() -> None:
    host = Host()
    device = EmulatedStage(make_stage(assigned(1)), Device(1, 0, 0, 0.001), host.work, host.clock)
    stage = Straggler(device, slow(5.0), host.sleep, host.clock)

    passed = stage.forward((inputs(10, 16),))
    stage.backward(passed, (inputs(10, 12),), want_dx=True)
    stage.step(10)

    assert host.waits == pytest.approx([4 * 0.010, 4 * 0.020, 0])
    assert stage.version == 1


def test_a_straggler_that_comes_and_goes_is_slow_at_the_beginning_of_each_period() -> None:
    """By the clock: slow for 1 of every 3 s, with work of 0.5 s each."""
    host = Host()
    device = EmulatedStage(make_stage(assigned(1)), Device(1, 0, 0, 0.05), host.work, host.clock)
    stage = Straggler(device, slow(3.0, straggler_for_s=1, straggler_every_s=3), host.sleep, host.clock)

    for _ in range(8):
        stage.forward((inputs(10, 16),))

    assert host.waits == pytest.approx([1.0, 1.0])


def test_everything_a_stage_does_is_slow_on_a_straggler() -> None:
    host = Host()
    real = make_stage(assigned(1))

    class Slow:
        """Takes a second for every call of the real stage."""

        inputs, outputs, version = real.inputs, real.outputs, 7

        def __getattr__(self, name: str) -> object:
            host.work(1.0)
            return getattr(real, name)

    stage, targets = Straggler(Slow(), slow(3.0), host.sleep, host.clock), (np.zeros(4, np.int64),)  # type: ignore[arg-type]
    passed = stage.forward((inputs(4, 16),))
    stage.backward(passed, stage.synthesize(passed, targets), want_dx=False)
    stage.refine(passed, targets, (inputs(4, 12),))
    stage.step(4)

    assert host.waits == pytest.approx([2.0] * 5)
    assert stage.version == 7


def test_a_straggler_computes_what_its_stage_computes() -> None:
    assignment = assigned(1, emulation={"straggler": 1, "straggler_factor": 9.0})
    slow, plain = build_stage(assignment, lambda seconds: None), make_stage(assignment)
    x = np.random.default_rng(0).standard_normal((BATCH, 16)).astype(np.float32)

    passed, expected = slow.forward((x,)), plain.forward((x,))
    assert (passed.outputs[0] == expected.outputs[0]).all()
    found_dx = slow.backward(passed, passed.outputs, want_dx=True)
    expected_dx = plain.backward(expected, expected.outputs, want_dx=True)
    slow.step(BATCH)
    plain.step(BATCH)

    assert found_dx is not None
    assert expected_dx is not None
    assert (found_dx[0] == expected_dx[0]).all()
    assert all((slow.model_state()[name] == array).all() for name, array in plain.model_state().items())


@pytest.mark.parametrize(("stage", "kind"), [(0, DenseStage), (1, Straggler), (2, DenseStage)])
def test_only_the_stage_that_is_named_is_a_straggler(stage: int, kind: type) -> None:
    assert type(build_stage(assigned(stage, emulation={"straggler": 1, "straggler_factor": 2.0}))) is kind


def test_an_emulated_straggler_waits_for_both() -> None:
    host = Host()

    stage = build_stage(
        assigned(1, emulation={"device_ms": DEVICE_MS, "straggler": 1, "straggler_factor": 4.0}), host.sleep, host.clock
    )
    stage.forward((inputs(BATCH, 16),))

    assert host.waits == pytest.approx([PRODUCT_S, 3 * PRODUCT_S])


@pytest.mark.parametrize(("schedule", "dtype"), [*((name, "float32") for name in NAMES), ("dni", "float64")])
def test_a_whole_run_on_emulated_devices_ends_with_the_weights_it_began_with(schedule: str, dtype: str) -> None:
    run = Run(hidden=(8, 8), epochs=2, batch=20, schedule=schedule, network={"dtype": dtype}, emulation={"device_ms": 1e-6})
    cluster = Cluster(run, blobs())
    initial = {name: a for stage in range(3) for name, a in make_stage(assign(cluster.resolved, stage)).model_state().items()}

    cluster.run()

    report = cluster.coordinator.report()
    assert report.updates == 2 * 10
    assert [detail.samples for detail in report.workers_detail] == [400] * 3
    assert all((report.network.arrays[name] == array).all() for name, array in initial.items())


def test_single_is_emulated_as_well() -> None:
    run = Run(hidden=(8,), epochs=1, batch=100, schedule="single", emulation={"device_ms": 1e-3})

    assert train_single(resolve(run, blobs()), lambda progress: None).updates == 2
