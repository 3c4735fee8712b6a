"""How blocks are measured, cut, planned and emulated."""

from typing import Any

import numpy as np
import pytest

from decoupled import Run, UsageError, plan, train
from decoupled.data.arrays import from_mapping
from decoupled.folders import load_run
from decoupled.runtime.assignment import assign, make_stage
from decoupled.runtime.emulation import head_products
from decoupled.runtime.plan import plan_of
from decoupled.runtime.resolve import ResolvedRun, resolve, work_of
from decoupled.runtime.sizes import message_bytes_needed, state_bytes_max
from tests.cluster import Cluster

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow


def images(samples: int = 64) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (samples, 3, 16, 16)).astype(np.uint8), np.arange(samples) % 4
    return {"x_train": x, "y_train": y, "x_test": x[:16], "y_test": y[:16]}


def small(**values: Any) -> Run:
    return Run(**{"data": images(), "model": "vgg", "args": {"model": {"width": 4}}, "batch": 16, "epochs": 1} | values)


def resolved(**values: Any) -> ResolvedRun:
    return resolve(small(**values), from_mapping(images(), "images"))


def test_blocks_are_measured_and_the_cut_is_kept_with_the_run(tmp_path: Any) -> None:
    report = train(small(workers=3), tmp_path / "run")

    cut = load_run(tmp_path / "run").stages
    assert cut is not None
    assert [tuple(detail.layers) for detail in report.workers_detail] == list(cut)
    assert [layer for stage in cut for layer in stage] == list(range(8))


def test_to_measure_a_model_changes_nothing_of_it() -> None:
    before = torch.random.get_rng_state().clone()
    run = resolved()
    alike = resolve(run.run, run.dataset)

    work = work_of(run)

    assert work.unit == "ms"
    assert min(work.layers) > 0
    assert torch.equal(torch.random.get_rng_state(), before)
    for stage in range(4):
        mine, other = (make_stage(assign(one, stage)).state_dict() for one in (run, alike))
        assert all((mine[name] == other[name]).all() for name in mine)


def test_a_plan_names_the_heads_that_fit_and_their_share() -> None:
    found = plan(small())

    assert found.unit == "ms"
    assert found.layers[0].name == "Conv2d, BatchNorm2d, ReLU"
    assert found.layers[1].gives == "float32 N x 4 x 8 x 8"
    heads = [stage.head for stage in found.stages]
    assert heads[-1] is None
    assert all(head is not None and head.share and head.ms for head in heads[:-1])


def test_a_model_that_does_not_fit_its_data_is_refused_with_the_sentence_of_train() -> None:
    run = small(model="gpt", args={})
    said = list[str]()
    for command in (plan, train):
        with pytest.raises(UsageError) as refused:
            command(run)
        said.append(str(refused.value))

    assert said[0] == said[1]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "nadam", "sgd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_stages_own_state_is_beyond_the_bound(optimiser: str, dtype: str) -> None:
    run = resolved(optimiser={"name": optimiser}, network={"dtype": dtype})
    for at in range(4):
        assignment = assign(run, at)
        stage, targets = make_stage(assignment), run.targets.zeros(4)
        passed = stage.forward(stage.inputs.zeros(4))
        gradients = stage.synthesize(passed, targets) if assignment.has_head else stage.loss(passed, targets).gradients
        stage.backward(passed, gradients, want_dx=False)
        if assignment.has_head:
            stage.refine(passed, targets, gradients)
        stage.step(4)

        taken = sum(array.nbytes for array in stage.state_dict().values())
        assert 2 * taken < state_bytes_max(run, at) < 12 * taken + (1 << 27)


def test_what_is_published_fits_a_message() -> None:
    rng = np.random.default_rng(0)
    text = rng.integers(0, 5000, (40, 8))
    data = from_mapping({"x_train": text, "y_train": text, "x_test": text[:8], "y_test": text[:8]}, "text")
    run = resolve(Run(model="gpt", args={"model": {"width": 64, "depth": 2}}, batch=2), data)

    assert message_bytes_needed(run) > 5000 * 64 * 4


def test_a_heads_work_on_an_emulated_device_is_its_share_of_the_layers() -> None:
    run = resolved(stages=((0, 1), (2, 3), (4, 5, 6, 7)), emulation={"device_ms": 3})
    shares = [stage.head.share for stage in plan_of(run).stages if stage.head is not None]

    emulated = [head_products(assign(run, at), make_stage(assign(run, at))) for at in range(3)]

    assert emulated[-1] == (0, 0)
    assert [synthesize for synthesize, _ in emulated[:-1]] == pytest.approx([3 * 2 * (share or 0) for share in shares])


@pytest.mark.parametrize("emulation", [{"device_ms": 1e-3}, {"straggler": 1, "straggler_factor": 1.01}])
def test_blocks_train_on_emulated_hardware(emulation: dict[str, float]) -> None:
    cluster = Cluster(small(workers=2, emulation=emulation), from_mapping(images(), "images"))

    cluster.run()

    assert cluster.coordinator.report().updates == 4
