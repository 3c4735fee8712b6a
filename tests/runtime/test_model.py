"""A model of the user's own, of which two arrays flow between stages, one of them 3-D and one without a gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import Run, RunFailed, UsageError, load_network, train, user_code
from decoupled.config.sections import Arguments
from decoupled.data.arrays import from_mapping
from decoupled.data.source import DataSource
from decoupled.nn.model import Model
from decoupled.runtime.assignment import assign, make_stage
from decoupled.runtime.resolve import build_model, resolve
from decoupled.runtime.single import train_single
from decoupled.runtime.warmup import warm_up
from tests.cluster import Cluster

TOY = Path(__file__).parents[1] / "toy_model.py"
WHERE = f"{TOY}:ToyModel"


def sequences() -> dict[str, Any]:
    """Which of three directions a sequence goes in; some are shorter, and end in zeros."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    x = rng.standard_normal((240, 6, 3)).astype(np.float32) + 1.5 * np.eye(3, dtype=np.float32)[y][:, None]
    x[np.arange(6) >= rng.integers(2, 7, 240)[:, None]] = 0
    return {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}


def data() -> DataSource:
    return from_mapping(sequences(), "sequences")


@pytest.fixture(autouse=True)
def _allowed() -> None:
    user_code.allow(str(TOY))


def run(**values: Any) -> Run:
    return Run(**{"model": WHERE, "epochs": 6, "batch": 20, "lr": 0.3} | values)


@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("schedule", ["lockstep", "gpipe", "1f1b"])
def test_the_synchronous_schedules_train_what_one_process_does(schedule: str, workers: int) -> None:
    alone = train_single(resolve(run(schedule="single"), data()), lambda progress: None)

    cluster = Cluster(run(schedule=schedule, workers=workers, microbatches=None if schedule == "lockstep" else 2), data())
    cluster.run()

    report = cluster.coordinator.report()
    for name, array in alone.network.arrays.items():
        np.testing.assert_allclose(report.network.arrays[name], array, rtol=0, atol=0 if schedule == "lockstep" else 1e-12)
    assert report.test_accuracy is not None
    assert report.test_accuracy > 0.7
    assert report.network.evaluate(sequences()["x_test"], sequences()["y_test"]).loss == pytest.approx(report.test_loss, abs=1e-5)


def test_heads_of_its_own_train_it_under_dni() -> None:
    cluster = Cluster(run(feedback_every=1, dni={"feedback": "bootstrapped"}, epochs=20), data())

    cluster.run()

    report = cluster.coordinator.report()
    assert all(detail.head_cosine is not None for detail in report.workers_detail[:-1])
    assert report.test_accuracy is not None
    assert report.test_accuracy > 0.7


def test_a_worker_that_is_lost_goes_on_from_what_was_kept() -> None:
    cluster = Cluster(run(schedule="lockstep", checkpoint={"every": 10}), data())
    cluster.assemble()
    for _ in range(200):
        cluster.advance()

    cluster.kill(1)
    cluster.run()

    alone = train_single(resolve(run(schedule="single"), data()), lambda progress: None)
    for name, array in alone.network.arrays.items():
        np.testing.assert_array_equal(cluster.coordinator.report().network.arrays[name], array)


def test_processes_train_what_one_does(tmp_path: Path) -> None:
    """The workers are started with the model's file, and its folder keeps what it has learnt."""
    here = run(data=sequences(), schedule="lockstep", workers=2)

    over_processes = train(here, tmp_path / "run")
    alone = train(here.model_copy(update={"schedule": "single", "workers": None}))

    for name, array in alone.network.arrays.items():
        np.testing.assert_array_equal(over_processes.network.arrays[name], array)
    with pytest.raises(UsageError, match="a model of your own"):
        load_network(tmp_path / "run")


def test_stages_that_do_not_fit_one_another_are_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here every other worker's copy of the model is wider; a worker with other code would be refused before."""
    made = list[Model]()

    def wider(run: Run, *rest: Any) -> Model:
        made.append(build_model(run.model_copy(update={"args": Arguments(model={"width": 5 + len(made) % 2})}), *rest))
        return made[-1]

    cluster = Cluster(run(), data())
    monkeypatch.setattr("decoupled.runtime.assignment.build_model", wider)

    with pytest.raises(RunFailed, match=r"Stage \d takes float64 N x any x \d.*, but is given float64 N x any x \d.*\."):
        cluster.run()


@pytest.mark.parametrize("emulation", [{"device_ms": 1e-6}, {"straggler": 1, "straggler_factor": 1.01}])
def test_it_runs_on_emulated_hardware(emulation: dict[str, float]) -> None:
    cluster = Cluster(run(emulation=emulation, epochs=1), data())

    cluster.run()

    assert cluster.coordinator.report().updates == 10


@pytest.mark.parametrize("stage", range(4))
def test_a_stage_is_warmed_up_from_what_it_says_of_itself(stage: int) -> None:
    assignment = assign(resolve(run(), data()), stage)
    before = make_stage(assignment).state_dict()

    warm_up(assignment)

    assert all((make_stage(assignment).state_dict()[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"workers": 5}, "5 workers cannot share 4 layers"),
        ({"stages": ((0, 1), (2,))}, "layers 0 to 3"),
        ({"args": {"model": {"depth": 3}}}, "has no option depth; it has width, layers"),
        ({"args": {"model": {"width": "wide"}}}, "not 'wide'"),
        ({"model": f"{TOY}:ToyModle"}, "Did you mean ToyModel"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolve(run(**values), data())
