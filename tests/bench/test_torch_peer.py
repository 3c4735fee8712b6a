"""The same job in PyTorch: it trains the same network, whole and in pipelines, as the child process that it is."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from decoupled.api import train
from decoupled.config import Run
from decoupled.errors import UsageError

pytestmark = pytest.mark.slow
pytest.importorskip("torch")
command = pytest.importorskip("decoupled.bench.torch_peer.__main__")

RUN = Run(data="digits", hidden=(32, 32), epochs=2, batch=64, schedule="single")
COMMAND = [sys.executable, "-m", "decoupled.bench.torch_peer"]
JOB: dict[str, Any] = {
    "kind": "single",
    "threads": 1,
    "fused": True,
    "stages": ((0, 1, 2),),
    "microbatches": 1,
    "updates_max": None,
    "warm_up": 1,
}


def job(run: Run, **options: Any) -> str:
    return json.dumps(JOB | {"run": run.model_dump(mode="json")} | options)


def child(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND, input=text, capture_output=True, text=True, timeout=60)


def answer(run: Run, **options: Any) -> dict[str, Any]:
    """What the child process prints."""
    done = child(job(run, **options))
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def performed(run: Run, **options: Any) -> dict[str, Any]:
    """The same without a child, whose start takes seconds."""
    result: dict[str, Any] = command.perform(command.Job.model_validate_json(job(run, **options)))
    return result


def test_with_samples_held_out_it_trains_a_quarter_of_the_run_and_is_tested_on_them() -> None:
    run = RUN.model_copy(update={"epochs": 8})

    result = performed(run, is_held_out=True, warm_up=0)

    assert result["updates"] == 2 * 21, "two epochs of 1,294 samples"
    assert [one["epoch"] for one in result["evaluations"]] == [2]
    assert result["evaluations"][0]["accuracy"] * 143 == pytest.approx(round(result["evaluations"][0]["accuracy"] * 143))


def test_it_trains_as_we_do() -> None:
    mine = train(RUN)
    result = answer(RUN)

    assert result["updates"] == mine.updates
    assert result["samples_per_s"] > 0
    assert [e["epoch"] for e in result["evaluations"]] == [2]
    assert result["evaluations"][-1]["accuracy"] == pytest.approx(mine.test_accuracy, abs=0.02)
    assert result["evaluations"][-1]["loss"] == pytest.approx(mine.test_loss, rel=1e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"batch_norm": False}},
        {"network": {"batch_norm": False, "activation": "tanh"}, "optimiser": {"name": "sgd", "decay": "cosine"}},
        {"network": {"batch_norm": False, "activation": "sigmoid"}, "data": "addition", "batch": 4096},
        {"network": {"batch_norm": False, "loss": "squared"}, "data": "addition", "batch": 4096},
        {"network": {"dtype": "float64"}, "runtime": {"evaluate_every": 1}},
    ],
)
def test_its_losses_are_ours(changes: dict[str, Any]) -> None:
    run = Run(**RUN.model_dump() | {"batch": 300} | changes)
    mine = train(run)
    result = performed(run, fused=False)

    assert [e["loss"] for e in result["evaluations"]] == pytest.approx([e.loss for e in mine.evaluations], rel=1e-5)


@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_pipelines_train(kind: str) -> None:
    result = answer(RUN, kind=kind, stages=((0,), (1, 2)), microbatches=4, updates_max=30)

    assert result["samples_per_s"] > 0
    assert (result["updates"], result["workers"], result["microbatches"]) == (30, 2, 4)
    assert "skipped" in result["note"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "gpipe", "microbatches": 3}, "cannot be split into 3"),
        ({"kind": "gpipe", "stages": ((0,), (2,))}, "hold the layers 0 to 2"),
        ({"kind": "1f1b", "stages": ((0,), (1,), (2,))}, "needs a microbatch for each worker"),
        ({"updates_max": 1}, "none is left to measure"),
    ],
)
def test_what_cannot_be_measured(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        performed(RUN, **options)


def test_a_failure_is_one_sentence() -> None:
    done = child('{"kind": "double"}')

    assert done.returncode == UsageError.exit_code
    assert done.stderr.startswith("This is no job: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_no_stage_outlives_it() -> None:
    """Also when it is killed, while its stages train."""
    endless = RUN.model_copy(update={"epochs": 1_000_000})
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ) as process:
        assert process.stdin is not None
        process.stdin.write(job(endless, kind="gpipe", stages=((0,), (1, 2))).encode())
        process.stdin.close()
        while len(stages := psutil.Process(process.pid).children(recursive=True)) < 3:  # with multiprocessing's own helper
            time.sleep(0.05)
        deadline = time.monotonic() + 60
        while any(sum(stage.cpu_times()[:2]) < 0.5 for stage in stages[1:]) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()

    _, alive = psutil.wait_procs(stages, timeout=10)
    assert not alive
