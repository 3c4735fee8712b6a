"""PyTorch's peers train the very blocks of a run: the same losses in one process, and pipelines of the run's stages."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled.api import train
from decoupled.bench.trial import child
from decoupled.config import Run
from decoupled.errors import UsageError

pytestmark = pytest.mark.slow
pytest.importorskip("torch")
command = pytest.importorskip("decoupled.bench.torch_peer.__main__")

HALVES = ((0, 1, 2, 3), (4, 5, 6, 7))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Of a small convolutional network on images."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 96)
    x = (128 + 40 * rng.standard_normal((4, 3, 16, 16))[y] + 20 * rng.standard_normal((96, 3, 16, 16))).clip(0, 255)
    x = x.astype(np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    values: dict[str, Any] = {"model": "vgg", "args": {"model": {"width": 4}}, "schedule": "single", "epochs": 3, "batch": 20}
    return Run(data=str(tmp_path / "images.npz"), network={"dtype": "float64"}, **values)


def job(run: Run, **options: Any) -> str:
    usual = {"kind": "single", "threads": 1, "fused": False, "stages": (), "microbatches": 1, "updates_max": None, "warm_up": 1}
    return json.dumps(usual | {"run": run.model_dump(mode="json")} | options)


def performed(run: Run) -> dict[str, Any]:
    """What the child process would print."""
    result: dict[str, Any] = command.perform(command.Job.model_validate_json(job(run)))
    return result


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "nadam", "sgd"])
def test_one_process_has_the_losses_of_single(run: Run, optimiser: str) -> None:
    values = {"optimiser": {"name": optimiser, "warm_up": 3, "clip": 1.0}, "runtime": {"evaluate_every": 1}}
    changed = Run(**run.model_dump() | values)

    ours, theirs = train(changed), performed(changed)

    assert [one["loss"] for one in theirs["evaluations"]] == pytest.approx([one.loss for one in ours.evaluations], rel=1e-7)
    assert [one["accuracy"] for one in theirs["evaluations"]] == [one.accuracy for one in ours.evaluations]


@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_pipelines_train_the_stages_of_the_run(run: Run, kind: str) -> None:
    given = job(run.model_copy(update={"schedule": "lockstep"}), kind=kind, stages=HALVES, microbatches=2)

    said = child([sys.executable, "-m", "decoupled.bench.torch_peer"], given)

    result = json.loads(said)
    assert (result["updates"], result["workers"]) == (12, 2)
    assert result["samples_per_s"] > 0


def test_a_model_that_is_no_row_of_modules_is_refused(run: Run) -> None:
    toy = f"{Path(__file__).parents[1] / 'toy_model.py'}:ToyModel"
    other = run.model_copy(update={"model": toy, "args": Run().args})

    with pytest.raises(UsageError, match="no row of its modules"):
        performed(other)
