"""async1f1b and 2bw learn what they say: each update uses the gradient at the weights of each microbatch's own forward pass."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

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
from decoupled.schedules.catalogue import async1f1b, two_versions
from decoupled.schedules.interface import Place, Schedule
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


class Replay:
    """Trains stages in the order that a schedule has on paper; each pass goes forward and back on `frozen(stage)`."""

    def __init__(self, stages: list[DenseStage], frozen: Callable[[DenseStage], DenseStage]) -> None:
        self._stages, self._frozen = stages, frozen
        self._under_way: dict[tuple[int, int], tuple[DenseStage, Pass]] = {}
        self._sums: dict[int, list[np.ndarray]] = {}  # by stage: gradients since its update
        self.copies = [0] * len(stages)  # of its weights that each stage had at once, at most

    def train(self, resolved: ResolvedRun, schedule: Callable[[Place], Schedule]) -> None:
        fed = [(item.x, item.y) for item in resolved.feed.items() if item.training]
        outputs: dict[tuple[int, int], Tensors] = {(-1, m): (x,) for m, (x, _) in enumerate(fed)}
        gradients: dict[tuple[int, int], Tensors] = {}
        parts = resolved.run.microbatches or 1
        for slot in simulate(schedule, 4, len(fed), Costs(1, 1, 1), window=8, minibatch=parts).slots:
            number = slot.stage
            match slot.action:
                case Forward(m):
                    worker = self._frozen(self._stages[number])
                    passed = worker.forward(outputs[number - 1, m])
                    self._under_way[number, m], outputs[number, m] = (worker, passed), passed.outputs
                    if number == 3:
                        gradients[number, m] = worker.loss(passed, (fed[m][1],)).gradients
                case Backward(m, send=send):
                    gradients[number - 1, m] = self._back(number, m, gradients[number, m], send) or ()
                case Update():
                    self._update(number, parts * len(fed[0][0]))

    def _back(self, number: int, m: int, gradients: Tensors, send: bool) -> Tensors | None:
        worker, passed = self._under_way.pop((number, m))
        found = worker.backward(passed, gradients, want_dx=send)
        if worker is not self._stages[number]:
            new = [parameter.gradient for parameter in parameters(worker)]
            before = self._sums.get(number, [0.0] * len(new))
            self._sums[number] = [a + b for a, b in zip(before, new, strict=True)]
        return found

    def _update(self, number: int, samples: int) -> None:
        stage = self._stages[number]
        for parameter, gradient in zip(parameters(stage), self._sums.pop(number, []), strict=False):
            parameter.gradient[...] = gradient
        stage.step(samples)
        versions = [passed.saved.version for (at, _), (_, passed) in self._under_way.items() if at == number]
        self.copies[number] = max(self.copies[number], len({id(v) for v in versions if v is not None and v.values is not None}))


def parameters(stage: DenseStage) -> list[Parameter]:
    return [parameter for layer in stage.layers for parameter in layer.parameters]


@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize(
    ("name", "schedule", "parts"), [("async1f1b", async1f1b, 1), ("2bw", two_versions, 4), ("2bw", two_versions, 2)]
)
def test_an_update_uses_the_gradients_at_the_weights_of_their_own_forward_passes(
    name: str, schedule: Callable[..., Schedule], parts: int, extra: int
) -> None:
    """Written out, each pass has a copy of the whole stage as it was, and gradients are added up."""
    resolved = resolve(a_run(schedule=name, microbatches=parts), blobs())
    mine, copied = stages_of(resolved), stages_of(resolve(a_run(schedule="lockstep"), blobs()))

    Replay(mine, lambda stage: stage).train(resolved, partial(schedule, extra=extra))
    Replay(copied, deepcopy).train(resolved, partial(schedule, extra=extra))

    for stage, other in zip(mine, copied, strict=True):
        assert all((stage.model_state()[name] == array).all() for name, array in other.model_state().items())


@pytest.mark.parametrize("extra", [0, 3, 9])
@pytest.mark.parametrize("parts", [2, 4, 5])
def test_under_2bw_a_stage_has_its_weights_and_one_copy_at_most(parts: int, extra: int) -> None:
    resolved = resolve(a_run(schedule="2bw", microbatches=parts), blobs())
    replay = Replay(stages_of(resolved), lambda stage: stage)

    replay.train(resolved, partial(two_versions, extra=extra))

    assert replay.copies == [1, 1, 1, 0]


@pytest.mark.parametrize(("schedule", "parts"), [("async1f1b", 1), ("2bw", 4)])
def test_one_worker_is_backprop(schedule: str, parts: int) -> None:
    """Under 2bw with the gradients of the parts of a batch added up, which is another order of sums."""
    cluster = Cluster(a_run(workers=1, schedule=schedule, microbatches=parts), blobs())
    cluster.run()
    alone = train_single(Cluster(a_run(schedule="single"), blobs()).resolved, lambda progress: None)

    there, apart = cluster.coordinator.report().network.arrays, 0 if parts == 1 else 1e-12
    for name, array in alone.network.arrays.items():
        np.testing.assert_allclose(there[name], array, rtol=0, atol=apart, err_msg=name)


@pytest.mark.parametrize(("schedule", "staleness"), [("async1f1b", [3, 2, 1, 0]), ("2bw", [1, 1, 0, 0])])
def test_gradients_are_as_old_as_the_schedule_says_and_all_are_used(schedule: str, staleness: list[int]) -> None:
    """Under 2bw one update at most, and none at stage 2, which always waits for its activations here."""
    cluster = Cluster(a_run(schedule=schedule, epochs=12), blobs(), faults=Faults(latency_s=0.001))
    cluster.run()
    report = cluster.coordinator.report()

    assert [detail.staleness_max for detail in report.workers_detail] == staleness
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
