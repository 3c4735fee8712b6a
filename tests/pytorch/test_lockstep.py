"""Lockstep over workers is training in one process: the same weights, bit for bit, however the model is cut."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from decoupled.checkpoint import load_arrays
from tests.e2e.commands import decoupled
from tests.pytorch.runs import GPT, RESNET, VGG, alone, assert_same, over_workers
from tests.pytorch.samples import images

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("values", [VGG, RESNET, GPT], ids=lambda values: str(values["model"]))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lockstep_over_workers_gives_the_weights_of_one_process_bit_for_bit(
    values: dict[str, Any], workers: int, dtype: str
) -> None:
    """With batch norm and skip connections, and with dropout, whose random numbers do not depend on the cut."""
    values = values | {"network": {"dtype": dtype}}

    there = over_workers(values, schedule="lockstep", workers=workers)

    here = alone(values)
    assert_same(here.network.arrays, there.network.arrays)
    assert there.test_loss == pytest.approx(here.test_loss, rel=1e-6)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_a_pipeline_gives_the_weights_of_one_process_where_microbatches_do_not_meet(schedule: str) -> None:
    """Without batch norm and dropout the gradients of the parts add up to that of the batch, in another order of sums."""
    values = {"model": "gpt", "args": {"model": {"width": 16, "heads": 2, "depth": 2}}, "network": {"dtype": "float64"}}

    there = over_workers(values, schedule=schedule, microbatches=4)

    assert_same(alone(values).network.arrays, there.network.arrays, apart=1e-10)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("values", [VGG, GPT], ids=lambda values: str(values["model"]))
def test_a_pipeline_over_workers_gives_the_weights_of_one_worker_bit_for_bit(schedule: str, values: dict[str, Any]) -> None:
    """With batch norm and dropout, which see one microbatch after another."""
    one = over_workers(values, schedule=schedule, microbatches=3, workers=1)

    there = over_workers(values, schedule=schedule, microbatches=3)

    assert_same(one.network.arrays, there.network.arrays)


@pytest.mark.timeout(300)  # on a machine that does other things, PyTorch alone takes many seconds to start
@pytest.mark.parametrize("values", [VGG, RESNET, GPT], ids=lambda values: str(values["model"]))
def test_lockstep_over_processes_gives_the_weights_of_one_process_bit_for_bit(values: dict[str, Any], tmp_path: Path) -> None:
    data = images()
    np.savez(tmp_path / "images.npz", x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    (tmp_path / "story.txt").write_text("The fox went over the hill, and the hen went under it. " * 40)
    given = ["text:story.txt", "--data-args", "context=16"] if values is GPT else ["images.npz"]
    sizes = [part for name, value in values["args"]["model"].items() for part in ("--model-args", f"{name}={value}")]
    common = ["--data", *given, "--model", values["model"], *sizes, "--epochs", "2", "--batch", "20"]
    there = ["--schedule", "lockstep", "--workers", "3", "--out", "there"]
    for options in (["--schedule", "single", "--out", "alone"], there):
        done = decoupled("train", *common, *options, cwd=tmp_path, seconds=140)
        assert done.returncode == 0, done.stderr

    here, over = (load_arrays(tmp_path / folder / "model.safetensors")[0] for folder in ("alone", "there"))
    assert_same(here, over)
