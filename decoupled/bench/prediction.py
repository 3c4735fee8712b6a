"""The simulator's prediction of the steady rate of a run on emulated devices."""

import numpy as np

from decoupled.bench import steady, trial
from decoupled.runtime.assignment import assign, build_schedule, make_stage
from decoupled.runtime.emulation import PRODUCTS, head_products
from decoupled.runtime.resolve import ResolvedRun
from decoupled.schedules.actions import Update
from decoupled.schedules.dni import window_under
from decoupled.simulator.network import Costs, Link
from decoupled.simulator.timeline import Forecast, simulate
from decoupled.telemetry.spans import KINDS, Rows


def samples_per_s(resolved: ResolvedRun, warm_up: int) -> float | None:
    """The steady rate that the run's schedule has in the simulator; None where the devices' times are not known.

    Nor does it know of stragglers, uneven links and kills.
    """
    run = resolved.run
    uneven = run.emulation.straggler is not None or run.emulation.link_factors or run.emulation.kill_every_s
    if run.emulation.device_ms is None or uneven:
        return None
    parts, sizes = run.microbatches or 1, trial.update_sizes(resolved)
    forecast = simulate(
        lambda place: build_schedule(assign(resolved, place.stage)),
        len(resolved.stages),
        len(sizes) * parts,
        [_costs(resolved, stage, run.emulation.device_ms * 1e6 / PRODUCTS / parts) for stage in range(len(resolved.stages))],
        window_under(run.dni.overflow, run.link.window),
        parts,
        Link(run.emulation.latency_ms * 1e6),
    )
    updates = [_updates(forecast, stage) for stage in range(len(resolved.stages))]
    return steady.samples_per_s(updates, sizes, trial.stretches(resolved), warm_up)


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


def _updates(forecast: Forecast, stage: int) -> Rows:
    """The simulated stage's updates as spans."""
    ends = [round(slot.end) for slot in forecast.slots if slot.stage == stage and isinstance(slot.action, Update)]
    return np.array([(KINDS.index("update"), -1, end, end) for end in ends], np.int64)
