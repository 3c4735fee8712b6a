"""The simulator's prediction of the steady rate of a run on emulated devices."""

import math
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from decoupled.bench import steady, trial
from decoupled.config.sections import EmulationOptions
from decoupled.runtime.assignment import assign, build_schedule, make_stage
from decoupled.runtime.emulation import PRODUCTS, head_products
from decoupled.runtime.resolve import ResolvedRun
from decoupled.runtime.wire_form import WireForm
from decoupled.schedules.actions import Update
from decoupled.schedules.links import window_under
from decoupled.simulator.network import Costs, Device, Link, Network, Sizes
from decoupled.simulator.timeline import Forecast, forecast
from decoupled.telemetry.spans import KINDS, Rows
from decoupled.tensors import TensorSpec
from decoupled.transport.faulty import HEADER_BYTES

MBIT_PER_BYTE_NS = 8000.0  # so many Mbit/s carry a byte in a nanosecond


@dataclass(frozen=True, slots=True)
class Messages:
    """What a message takes from one worker to the next, beside what is emulated."""

    each_ns: float = 0.0
    byte_ns: float = 0.0


FREE = Messages()


def samples_per_s(resolved: ResolvedRun, warm_up: int, messages: Messages = FREE) -> float | None:
    """The steady rate that the run's schedule has in the simulator; None where it is not known what takes how long."""
    run, emulation = resolved.run, resolved.run.emulation
    if emulation.device_ms is None or emulation.loss or emulation.straggler_for_s or emulation.kill_every_s:
        return None
    parts, sizes = run.microbatches or 1, trial.update_sizes(resolved)
    found = forecast(
        lambda place: build_schedule(assign(resolved, place.stage)),
        _network(resolved, messages),
        window_under(run.dni.overflow, run.link.window),
        parts,
        len(sizes) * parts,
    )
    updates = [_updates(found, stage) for stage in range(len(resolved.stages))]
    return steady.samples_per_s(updates, sizes, trial.stretches(resolved), warm_up)


def message_sizes(resolved: ResolvedRun) -> Sizes:
    """The bytes of a microbatch's activation, with its targets, and of its gradient: means over the links between stages."""
    rows = resolved.run.batch // (resolved.run.microbatches or 1)
    flows = [resolved.model.flow(layers[0]) for layers in resolved.stages[1:]]
    if not flows:
        return Sizes()

    def size(spec: TensorSpec) -> int:
        return sum(array.nbytes for array in WireForm(spec, resolved.run.link.wire).spec.zeros(rows))

    targets = sum(array.nbytes for array in resolved.targets.zeros(rows))
    activation, gradient = fmean(map(size, flows)), fmean(size(flow.gradients) for flow in flows)
    return Sizes(activation + targets, gradient, header=HEADER_BYTES)


def _network(resolved: ResolvedRun, messages: Messages) -> Network:
    """In nanoseconds and bytes."""
    emulation, parts, stages = resolved.run.emulation, resolved.run.microbatches or 1, len(resolved.stages)
    assert emulation.device_ms is not None
    product_ns = emulation.device_ms * 1e6 / PRODUCTS / parts
    slower = {emulation.straggler: emulation.straggler_factor}
    devices = [Device(_costs(resolved, stage, product_ns * slower.get(stage, 1.0))) for stage in range(stages)]
    factors = [1.0, *emulation.link_factors, *[1.0] * stages][:stages]  # the first link comes from the coordinator
    return Network(devices, [_link(emulation, factor, messages) for factor in factors], message_sizes(resolved))


def _link(emulation: EmulationOptions, factor: float, messages: Messages) -> Link:
    """One that is so many times as slow as the others."""
    byte_ns = messages.byte_ns + (factor * MBIT_PER_BYTE_NS / emulation.bandwidth_mbit if emulation.bandwidth_mbit else 0.0)
    latency_ns, jitter_ns = (factor * ms * 1e6 for ms in (emulation.latency_ms, emulation.jitter_ms))
    return Link(latency_ns + messages.each_ns, jitter_ns, 1 / byte_ns if byte_ns else math.inf)


def _costs(resolved: ResolvedRun, stage: int, product_ns: float) -> Costs:
    """What the stage's actions take on its device, in ns, where a layer's product with one microbatch takes `product_ns`."""
    assignment, layers = assign(resolved, stage), len(resolved.stages[stage])
    synthesize, refine = head_products(assignment, make_stage(assignment))
    return Costs(
        forward=product_ns * layers,
        backward=product_ns * (2 * layers - 1),
        input_gradient=product_ns,
        refine=product_ns * refine,
        synthesize=product_ns * synthesize,
    )


def _updates(found: Forecast, stage: int) -> Rows:
    """The simulated stage's updates as spans."""
    ends = [round(slot.end) for slot in found.slots if slot.stage == stage and isinstance(slot.action, Update)]
    return np.array([(KINDS.index("update"), -1, end, end) for end in ends], np.int64)
