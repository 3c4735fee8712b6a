"""The prediction: what the simulator says of a blueprint on emulated devices, by the measure that real runs are measured with."""

import numpy as np

from decoupled.bench import steady, trial
from decoupled.runtime.assignment import assign, build_schedule, build_stage
from decoupled.runtime.blueprint import Blueprint
from decoupled.runtime.emulation import PRODUCTS, head_products
from decoupled.schedules.actions import Update
from decoupled.schedules.dni import window_under
from decoupled.schedules.simulator import Costs, Forecast, simulate
from decoupled.telemetry.spans import KINDS, Rows


def samples_per_s(blueprint: Blueprint, warm_up: int) -> float | None:
    """The steady rate of the schedules that the workers would have; None where the devices' times are not known."""
    run = blueprint.run
    if run.emulation.device_ms is None or run.emulation.straggler is not None:
        return None
    parts, sizes = run.microbatches or 1, trial.update_sizes(blueprint)
    forecast = simulate(
        lambda place: build_schedule(assign(blueprint, place.stage)),
        len(blueprint.stages),
        len(sizes) * parts,
        [_costs(blueprint, stage, run.emulation.device_ms * 1e6 / PRODUCTS / parts) for stage in range(len(blueprint.stages))],
        window_under(run.dni.overflow, run.link.window),
        parts,
    )
    updates = [_updates(forecast, stage) for stage in range(len(blueprint.stages))]
    return steady.samples_per_s(updates, sizes, trial.stretches(blueprint), warm_up)


def _costs(blueprint: Blueprint, stage: int, product_ns: float) -> Costs:
    """What the stage's actions take on its device, in ns, where a layer's product with one microbatch takes `product_ns`."""
    assignment, layers = assign(blueprint, stage), len(blueprint.stages[stage])
    synthesize, refine = head_products(assignment, build_stage(assignment))
    return Costs(
        forward=product_ns * layers,
        backward=product_ns * (2 * layers - 1),
        input_gradient=product_ns,
        refine=product_ns * refine,
        latency=blueprint.run.emulation.latency_ms * 1e6,
        synthesize=product_ns * synthesize,
    )


def _updates(forecast: Forecast, stage: int) -> Rows:
    """The simulated stage's updates as spans."""
    ends = [round(slot.end) for slot in forecast.slots if slot.stage == stage and isinstance(slot.action, Update)]
    return np.array([(KINDS.index("update"), -1, end, end) for end in ends], np.int64)
