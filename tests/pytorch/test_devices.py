"""Devices: which stage is on which, and what is said of one that is not there."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from decoupled import Run, UsageError
from decoupled.identity import digest
from decoupled.pytorch.arrays import to_array, to_tensor
from decoupled.pytorch.devices import choose
from decoupled.runtime.process import tune
from decoupled.runtime.resolve import resolve
from tests.datasets import blobs
from tests.e2e.commands import in_process, is_one_sentence

pytestmark = pytest.mark.slow

needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


@pytest.mark.parametrize(
    ("devices", "cudas", "expected"),
    [
        ("auto", 0, ["cpu"] * 4),
        ("auto", 1, ["cuda:0"] * 4),
        ("auto", 3, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]),
        ("cuda", 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        ("cpu", 2, ["cpu"] * 4),
        ("cuda:1", 2, ["cuda:1"] * 4),
        ("cuda:1,cpu", 2, ["cuda:1", "cpu", "cuda:1", "cpu"]),
    ],
)
def test_stages_go_round_the_devices(devices: str, cudas: int, expected: list[str]) -> None:
    assert [choose(devices, stage, cudas) for stage in range(4)] == expected


@pytest.mark.parametrize(("devices", "cudas"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2), ("cpu,cuda:5", 1)])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(devices: str, cudas: int) -> None:
    with pytest.raises(UsageError, match=r"There is no device cuda:\d here, but .*--device"):
        choose(devices, 1, cudas)


@pytest.mark.parametrize("devices", ["gpu", "cuda:", "cuda:x", "cpu,", "", "auto,cpu"])
def test_what_is_no_device_is_refused(devices: str) -> None:
    with pytest.raises(UsageError, match="A device is auto, cpu, cuda, or a list such as cuda:0,cuda:1"):
        Run(runtime={"device": devices})


@needs_none
@pytest.mark.parametrize("schedule", ["dni", "single"])
def test_without_the_device_nothing_is_started(schedule: str, tmp_path: Path) -> None:
    done = in_process("train", "--model", "torch-mlp", "--device", "cuda:0", "--schedule", schedule, cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "There is no device cuda:0 here, but no CUDA device." in done.stderr


@needs_none
def test_where_workers_are_elsewhere_the_coordinator_does_not_ask_for_their_devices() -> None:
    resolved = resolve(Run(model="torch-mlp", runtime={"device": "cuda:0"}), blobs())

    with pytest.raises(UsageError, match="no device cuda:0"):
        resolved.require_devices()


def test_a_run_may_go_on_on_other_devices() -> None:
    one, other = (Run(model="torch-mlp", runtime={"device": devices}) for devices in ("cpu", "cuda:0,cuda:1"))

    assert digest(one) == digest(other)


def test_the_runs_threads_are_pytorchs_too() -> None:
    before = torch.get_num_threads()
    with tune(2):
        assert torch.get_num_threads() == 2
    with tune(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"])
def test_arrays_become_tensors_and_come_back(dtype: str) -> None:
    tensor = (torch.rand(3, 4) * 10).to(getattr(torch, dtype))
    for one in (tensor, tensor.t(), tensor[:, :0], tensor[0, 0]):
        array = to_array(one)
        assert array.dtype == dtype
        array.flags.writeable = False
        assert torch.equal(to_tensor(array, torch.device("cpu")), one)
