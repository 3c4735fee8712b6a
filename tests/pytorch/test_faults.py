"""PyTorch stages that are lost: lockstep goes on as if nothing had happened, and dni trains on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from decoupled.config import Run
from decoupled.transport.simulated import Faults
from tests.cluster import Cluster, MemoryStore
from tests.e2e.commands import decoupled
from tests.pytorch.runs import GPT, USUAL, VGG, alone, assert_same, data_for
from tests.pytorch.samples import images
from tests.runtime.small_runs import run_until

pytestmark = pytest.mark.slow

OPTIMISERS: list[dict[str, Any]] = [{"name": "adamw"}, {"name": "nadam"}, {"name": "sgd"}]


def cluster_of(values: dict[str, Any], store: MemoryStore, **more: Any) -> Cluster:
    """One that rolls back; the stages are given, since a cut by measured time may be another each time."""
    layers = 8 if values["model"] == "vgg" else 4
    stages = ((0,), (1, 2), tuple(range(3, layers)))
    run = Run(**USUAL | values | {"workers": None, "stages": stages, "checkpoint": {"every": 2}, "epochs": 4} | more)
    return Cluster(run, data_for(values), 0, Faults(latency_s=0.01), store)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda optimiser: str(optimiser["name"]))
@pytest.mark.parametrize("values", [VGG, GPT], ids=lambda values: str(values["model"]))
def test_lockstep_that_lost_a_stage_ends_with_the_weights_of_one_process(
    values: dict[str, Any], optimiser: dict[str, Any]
) -> None:
    """Bit for bit, from a checkpoint: weights, running statistics, dropout, the optimiser's memory."""
    values = values | {"optimiser": optimiser}
    cluster = cluster_of(values, MemoryStore(), schedule="lockstep")
    run_until(cluster, 100)
    cluster.kill(1)
    cluster.run()

    report = cluster.coordinator.report()
    assert [incident.what for incident in report.incidents] == ["lost", "rolled back", "rejoined"]
    assert_same(alone(values, epochs=4).network.arrays, report.network.arrays)


@pytest.mark.parametrize("schedule", ["lockstep", "1f1b"])
def test_a_run_that_is_resumed_ends_as_one_that_was_not_interrupted(schedule: str) -> None:
    whole = cluster_of(VGG, MemoryStore(), schedule=schedule)
    whole.run()
    store = MemoryStore()
    run_until(cluster_of(VGG, store, schedule=schedule), 130)
    assert store.last_saved is not None

    resumed = cluster_of(VGG, store, schedule=schedule)
    resumed.run()

    assert_same(whole.coordinator.report().network.arrays, resumed.coordinator.report().network.arrays)


@pytest.mark.timeout(300)  # on a machine that does other things, PyTorch alone takes many seconds to start
def test_dni_trains_through_the_death_of_a_convolutional_stage(tmp_path: Path) -> None:
    data = images(train=400, test=100)
    np.savez(tmp_path / "images.npz", x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    options = ["--model-args", "width=4", "--workers", "3", "--epochs", "15", "--batch", "20"]
    fault = ["--fault", "kill:stage=1,microbatch=150", "--set", "checkpoint.every=50"]

    done = decoupled(
        "train", "--data", "images.npz", "--model", "vgg", *options, *fault, "--out", "run", cwd=tmp_path, seconds=280
    )

    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [(incident["what"], incident["stage"]) for incident in report["incidents"]] == [("lost", 1), ("rejoined", 1)]
    assert [one["samples"] + one["samples_missed"] for one in report["workers_detail"]] == [15 * 400] * 3
    assert report["test_accuracy"] >= 0.95
