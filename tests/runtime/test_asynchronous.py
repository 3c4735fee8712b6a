"""async1f1b learns what it says: each update uses the gradient at the weights of that microbatch's own forward pass."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.nn.dense import DenseStage
from decoupled.nn.parameters import Parameter
from decoupled.nn.stage import Pass
from decoupled.runtime.assignment import assign
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.runtime.single import train_single
from decoupled.schedules.actions import Backward, Forward, Update
from decoupled.schedules.catalogue import async1f1b
from decoupled.simulator.network import Costs
from decoupled.simulator.timeline import simulate
from decoupled.tensors import Tensors
from decoupled.transport.simulated import Faults
from tests.cluster import Cluster
from tests.datasets import blobs
from tests.stages import dense_stage

VALUES = {"hidden": (16, 16, 16), "batch": 20, "network": {"dtype": "float64", "batch_norm": False}, "schedule": "async1f1b"}


def a_run(**values: object) -> Run:
    return Run(**VALUES | {"epochs": 3} | values)


def stages_of(resolved: ResolvedRun) -> list[DenseStage]:
    return [dense_stage(assign(resolved, number)) for number in range(4)]


def replay(stages: list[DenseStage], resolved: ResolvedRun, extra: int, frozen: Callable[[DenseStage], DenseStage]) -> None:
    """Trains the stages in the order that the schedule has on paper; each pass goes forward and back on `frozen(stage)`."""
    fed = [(item.x, item.y) for item in resolved.feed.items() if item.training]
    under_way: dict[tuple[int, int], tuple[DenseStage, Pass]] = {}
    outputs: dict[tuple[int, int], Tensors] = {(-1, m): (x,) for m, (x, _) in enumerate(fed)}
    gradients: dict[tuple[int, int], Tensors] = {}
    for slot in simulate(lambda place: async1f1b(place, extra), 4, len(fed), Costs(1, 1, 1), window=8).slots:
        stage, number = stages[slot.stage], slot.stage
        match slot.action:
            case Forward(m):
                worker = frozen(stage)
                passed = worker.forward(outputs[number - 1, m])
                under_way[number, m], outputs[number, m] = (worker, passed), passed.outputs
                if number == 3:
                    gradients[number, m] = worker.loss(passed, (fed[m][1],)).gradients
            case Backward(m, send=send):
                worker, passed = under_way.pop((number, m))
                gradients[number - 1, m] = worker.backward(passed, gradients[number, m], want_dx=send) or ()
                del passed
                for mine, its in zip(parameters(stage), parameters(worker), strict=True):
                    mine.gradient[...] = its.gradient
            case Update():
                stage.step(len(fed[0][0]))


def parameters(stage: DenseStage) -> list[Parameter]:
    return [parameter for layer in stage.layers for parameter in layer.parameters]


@pytest.mark.parametrize("extra", [0, 3])
def test_an_update_uses_the_gradient_at_the_weights_of_its_own_forward_pass(extra: int) -> None:
    """Written out, each pass has a copy of the whole stage as it was."""
    resolved = resolve(a_run(), blobs())
    mine, copied = stages_of(resolved), stages_of(resolve(a_run(schedule="lockstep"), blobs()))

    replay(mine, resolved, extra, lambda stage: stage)
    replay(copied, resolved, extra, deepcopy)

    for stage, other in zip(mine, copied, strict=True):
        assert all((stage.model_state()[name] == array).all() for name, array in other.model_state().items())


def test_one_worker_is_backprop() -> None:
    cluster = Cluster(a_run(workers=1), blobs())
    cluster.run()
    alone = train_single(Cluster(a_run(schedule="single"), blobs()).resolved, lambda progress: None)

    there = cluster.coordinator.report().network.arrays
    assert all((there[name] == array).all() for name, array in alone.network.arrays.items())


def test_gradients_are_as_old_as_there_are_stages_below_and_all_are_used() -> None:
    cluster = Cluster(a_run(epochs=12), blobs(), faults=Faults(latency_s=0.001))
    cluster.run()
    report = cluster.coordinator.report()

    assert [detail.staleness_max for detail in report.workers_detail] == [3, 2, 1, 0]
    assert [detail.samples for detail in report.workers_detail] == [12 * 200] * 4
    assert report.updates == 12 * 10
    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9


def test_weights_are_copied_only_for_passes_that_are_still_out() -> None:
    stage, y = stages_of(resolve(a_run(), blobs()))[3], np.zeros(20, np.int64)
    late, early = (stage.forward((np.ones((20, 16)),)) for _ in range(2))
    stage.backward(early, stage.loss(early, (y,)).gradients, want_dx=False)
    before = parameters(stage)[0].value.copy()

    stage.step(20)
    stage.backward(late, stage.loss(late, (y,)).gradients, want_dx=False)
    after = stage.forward((np.ones((20, 16)),))
    stage.backward(after, stage.loss(after, (y,)).gradients, want_dx=False)
    stage.step(20)

    assert late.saved.version is None
    assert after.saved.version is None
    assert not np.array_equal(parameters(stage)[0].value, before)
    assert np.shares_memory(parameters(stage)[0].value, stage._pack.values)
