"""The simulator and real workers on a simulated network, where every action takes as long: they do the same at the same time."""

from typing import Any

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.runtime.assignment import assign, build_schedule
from decoupled.schedules.actions import Update
from decoupled.simulator.network import Costs, Device, Link, Network
from decoupled.simulator.timeline import forecast
from decoupled.telemetry.spans import KINDS
from decoupled.transport.simulated import Faults
from tests.cluster import Cluster
from tests.datasets import blobs

EACH = Costs(forward=1.0, backward=1.0, input_gradient=0.0, update=1.0, refine=1.0)
LATENCY_S = 0.7
VALUES: dict[str, Any] = {
    "hidden": (4, 4, 4),
    "epochs": 2,
    "batch": 20,
    "checkpoint": {"every_s": 0},
    "supervision": {"stall_timeout_s": 1e6},
}
RUNS: dict[str, dict[str, Any]] = {
    "lockstep": {},
    "gpipe": {"microbatches": 4},
    "1f1b": {"microbatches": 4},
    "async1f1b": {},
    "2bw": {"microbatches": 4},
    "local": {},
    "dni, chained": {"feedback_every": 4},
    "dni, adaptive": {"dni": {"feedback": "adaptive"}},
    "dni, corrected": {"dni": {"feedback": "corrected"}},
}


@pytest.mark.parametrize("name", RUNS)
def test_updates_are_made_when_the_simulator_says(name: str) -> None:
    run = Run(schedule=name.partition(",")[0], **VALUES | RUNS[name])
    cluster = Cluster(run, blobs(train=400, test=20), faults=Faults(latency_s=LATENCY_S), action_s=1.0)
    cluster.run()
    spans = cluster.coordinator.report().spans
    found = [np.sort(rows[rows[:, 0] == KINDS.index("update"), 2]) / 1e9 for rows in spans]

    parts, resolved = run.microbatches or 1, cluster.resolved
    on_paper = forecast(
        lambda place: build_schedule(assign(resolved, place.stage)),
        Network([Device(EACH)] * 4, [Link(LATENCY_S)] * 4),
        run.link.window,
        parts,
        40 * parts,
    )
    for stage, mine in enumerate(found):
        expected = [slot.start for slot in on_paper.slots if slot.stage == stage and isinstance(slot.action, Update)]
        if run.schedule == "dni":  # a question to the next stage takes a worker as long here as any action, and no time on paper
            assert mine[-1] - mine[0] == pytest.approx(expected[-1] - expected[0], rel=0.06)
        else:
            assert mine - mine[0] == pytest.approx(np.array(expected) - expected[0], abs=1e-6)
