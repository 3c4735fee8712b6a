"""Things that go wrong in real processes: workers that die or hang, links that fall silent, coordinators that are killed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from decoupled import load_network
from tests.conftest import until
from tests.e2e.commands import decoupled, gone, in_process, is_one_sentence, read_until, started, workers_of

LONG = ["--hidden", "32,32,32", "--epochs", "100"]  # a few seconds


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def happened(report: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [(incident["what"], incident["stage"]) for incident in report["incidents"]]


def samples(report: dict[str, Any], epochs: int = 100) -> None:
    """Every sample that was fed was trained on by each stage or is listed as missed by it."""
    assert [one["samples"] + one["samples_missed"] for one in report["workers_detail"]] == [epochs * 1437] * 4


@pytest.mark.parametrize("stage", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_dni_trains_through_the_death_of_a_worker(stage: int, tmp_path: Path) -> None:
    done = decoupled(
        "train", *LONG, "--epochs", "40", "--fault", f"kill:stage={stage},microbatch=500", "--out", "run", cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path / "run")
    assert happened(report) == [("lost", stage), ("rejoined", stage)]
    assert [one["generation"] for one in report["workers_detail"]] == [int(i == stage) for i in range(4)]
    assert report["test_accuracy"] >= 0.95
    samples(report, epochs=40)
    account = json.loads((tmp_path / "run" / "account.json").read_text())
    assert [sum(last - first + 1 for first, last in one["missed"]) for one in account["stages"]] == [
        one["missed"] for one in report["workers_detail"]
    ]
    assert f"stage {stage} lost" in done.stdout
    assert f"stage {stage} rejoined: generation 1" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["dni", "lockstep"])
def test_a_run_whose_workers_are_killed_again_and_again_ends(schedule: str, tmp_path: Path) -> None:
    """On emulated devices, so that it lasts for several kills."""
    kills = ["--set", "emulation.kill_every_s=4", "--set", "emulation.device_ms=20", "--set", "checkpoint.every_s=0.5"]
    lasting = ["--hidden", "16,16,16", "--epochs", "12" if schedule == "dni" else "4", "--set", "supervision.backoff_s=0"]
    done = decoupled("train", "--schedule", schedule, *lasting, *kills, "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path / "run")
    lost = [stage for what, stage in happened(report) if what == "lost"]
    assert lost[:2] == [0, 1]
    assert ("rolled back" in [what for what, _ in happened(report)]) == (schedule == "lockstep")


@pytest.mark.slow
def test_lockstep_rolls_back_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    run = ["train", "--schedule", "lockstep", "--hidden", "32,32,32", "--epochs", "30", "--set", "checkpoint.every=200"]
    quiet = in_process(*run, "--schedule", "single", "--out", "quiet", cwd=tmp_path)
    troubled = decoupled(*run, "--fault", "kill:stage=1,microbatch=500", "--out", "troubled", cwd=tmp_path)

    assert (quiet.returncode, troubled.returncode) == (0, 0), troubled.stderr
    report = report_of(tmp_path / "troubled")
    assert happened(report) == [("lost", 1), ("rolled back", None), ("rejoined", 1)]
    samples(report, epochs=30)
    assert [one["missed"] for one in report["workers_detail"]] == [0] * 4
    same_networks(tmp_path / "quiet", tmp_path / "troubled")


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["async1f1b", "2bw"])
def test_a_pipeline_without_a_flush_rolls_back_and_trains_on_every_sample(schedule: str, tmp_path: Path) -> None:
    run = ["train", "--schedule", schedule, "--hidden", "32,32,32", "--epochs", "30", "--set", "checkpoint.every=200"]

    troubled = decoupled(*run, "--fault", "kill:stage=1,microbatch=500", "--out", "run", cwd=tmp_path)
    traced = in_process("trace", "run", "-o", "trace.json", cwd=tmp_path)

    assert (troubled.returncode, traced.returncode) == (0, 0), troubled.stderr
    report = report_of(tmp_path / "run")
    assert happened(report) == [("lost", 1), ("rolled back", None), ("rejoined", 1)]
    samples(report, epochs=30)
    assert [one["missed"] for one in report["workers_detail"]] == [0] * 4
    assert report["test_accuracy"] >= 0.95
    assert '"update"' in (tmp_path / "trace.json").read_text()


def same_networks(one: Path, other: Path) -> None:
    expected, found = load_network(one).arrays, load_network(other).arrays
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_coordinator_that_is_killed_leaves_no_process_and_its_run_is_resumed_to_the_same_end(tmp_path: Path) -> None:
    run = ["train", "--schedule", "lockstep", "--hidden", "32,32,32", "--epochs", "30", "--set", "checkpoint.every=200"]
    quiet = in_process(*run, "--schedule", "single", "--out", "quiet", cwd=tmp_path)
    assert quiet.returncode == 0
    process = started(*run, "--out", "run", cwd=tmp_path)
    until("a checkpoint to be there", lambda: list((tmp_path / "run" / "checkpoints").glob("*/manifest.json")))
    workers = workers_of(process)
    process.kill()
    process.communicate()
    until("the workers to end", lambda: gone(workers), seconds=5)

    resumed = decoupled("train", "--resume", "run", cwd=tmp_path)

    assert resumed.returncode == 0, resumed.stderr
    report = report_of(tmp_path / "run")
    assert happened(report) == [("resumed", None)]
    samples(report, epochs=30)
    same_networks(tmp_path / "quiet", tmp_path / "run")
    again = in_process("train", "--resume", "run", cwd=tmp_path)
    assert (again.returncode, is_one_sentence(again.stderr)) == (2, True)
    assert "finished run" in again.stderr


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """The folder of a run that was interrupted after its first checkpoint."""
    process = started("train", *LONG, "--epochs", "100000", "--set", "checkpoint.every=100", "--out", "run", cwd=tmp_path)
    until("two checkpoints to be there", lambda: len(list((tmp_path / "run" / "checkpoints").glob("*/manifest.json"))) > 1)
    process.terminate()
    process.communicate(timeout=20)
    return tmp_path / "run"


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(interrupted: Path) -> None:
    before, last = sorted(path.parent for path in interrupted.glob("checkpoints/*/manifest.json"))[-2:]
    damaged = last / "stage2.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    epochs = int(before.name) // 23 + 40

    done = decoupled("train", "--resume", "run", "--epochs", str(epochs), cwd=interrupted.parent)

    assert done.returncode == 0, done.stderr
    assert f"checkpoints/{last.name}/stage2.safetensors is damaged" in done.stdout
    assert report_of(interrupted)["incidents"][0]["detail"] == f"after microbatch {int(before.name)}"


@pytest.mark.slow
def test_a_run_under_way_is_not_trained_twice_at_once(tmp_path: Path) -> None:
    process = started("train", *LONG, "--epochs", "100000", "--out", "run", cwd=tmp_path)
    read_until(process, "loss")

    second = decoupled("train", "--resume", "run", cwd=tmp_path)

    process.terminate()
    process.communicate(timeout=20)
    assert (second.returncode, is_one_sentence(second.stderr)) == (2, True)
    assert "is being trained by another process" in second.stderr


@pytest.mark.slow
def test_a_worker_that_hangs_is_flagged_and_replaced(tmp_path: Path) -> None:
    process = started("train", *LONG, "--epochs", "200", "--stall-timeout", "3", "--out", "run", cwd=tmp_path)
    read_until(process, "loss")
    hanging = stage_worker(process, 1)
    hanging.suspend()

    assert "stage 1 silent" in read_until(process, "silent")
    assert "no report for 3 s" in read_until(process, "stage 1 lost")
    read_until(process, "stage 1 rejoined")
    _, said = process.communicate(timeout=60)

    assert process.returncode == 0, said
    assert gone([hanging])
    report = report_of(tmp_path / "run")
    silent, lost = report["incidents"][:2]
    assert lost["seconds"] - silent["seconds"] < 3
    samples(report, epochs=200)


@pytest.mark.slow
def test_a_worker_that_was_only_paused_is_flagged_and_goes_on(tmp_path: Path) -> None:
    done = decoupled("train", *LONG, "--fault", "stop:stage=1,microbatch=500,seconds=3", "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path / "run")
    assert happened(report) == [("silent", 1), ("back", 1)]
    assert [one["missed"] for one in report["workers_detail"]] == [0] * 4


@pytest.mark.slow
def test_a_partition_heals_by_itself(tmp_path: Path) -> None:
    fault = "partition:stage=1,microbatch=500,seconds=5"

    done = decoupled("train", *LONG, "--fault", fault, "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path / "run")
    assert report["seconds"] > 5
    assert [one["missed"] for one in report["workers_detail"]] == [0] * 4
    assert report["test_accuracy"] >= 0.95


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--fault", "kill"], "faults.0.stage is missing"),
        (["--fault", "kill:stage=9"], "no stage 9"),
        (["--fault", "drop:stage=1"], "Drop needs share"),
        (["--fault", "kill:stage=1,ms=3"], "Kill has no ms"),
        (["--fault", "burn:stage=1"], "kill"),
        (["--fault", "drop:stage=1,share=0.1", "--schedule", "lockstep"], "Lockstep would wait for ever"),
        (["--on-failure", "continue", "--schedule", "gpipe"], "Gpipe cannot go on"),
        (["--resume", "nowhere"], "nowhere holds no run"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(options: list[str], sentence: str, tmp_path: Path) -> None:
    done = in_process("train", *options, cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())


def stage_worker(process: "subprocess.Popen[str]", stage: int) -> psutil.Process:
    """The worker of that stage, by the words it said when it was assigned."""
    for worker in workers_of(process):
        if f"stage {stage} of" in Path(f"/proc/{worker.pid}/fd/1").readlink().read_text():
            return worker
    raise AssertionError(f"nobody is stage {stage}")
