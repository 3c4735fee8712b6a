"""Benchmarks and traces from the command line, with real processes."""

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from decoupled import Run, train
from decoupled.bench import peers
from tests.conftest import until
from tests.e2e.commands import decoupled, gone, in_process, is_one_sentence, started

SIDES = ["single", "lockstep", "gpipe", "1f1b", "2bw", "dni"]
QUICK = [
    "bench",
    "--hidden",
    "64",
    "--batch",
    "256",
    "--epochs",
    "8",
    "--warm-up",
    "4",
    "--repeat",
    "1",
]  # large products: a quick floor


def cells(text: str) -> list[list[str]]:
    """The rows of the first Markdown table, without its head."""
    lines = [line for line in text.partition("\n| --- ")[2].split("\n\n")[0].splitlines()[1:] if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def finished_run(folder: Path, schedule: str) -> Path:
    """A run that is done in no time, with workers unless it is single."""
    train(Run(hidden=(16,), epochs=1, schedule=schedule), out=folder)
    return folder


@pytest.mark.slow
def test_a_benchmark_measures_every_side_and_leaves_all_it_promised(tmp_path: Path) -> None:
    """One round, because a trial's processes take seconds to start here; a second benchmark may not use its folder."""
    command = [*QUICK, "--schedule", ",".join(SIDES), "--microbatches", "2", "--target-accuracy", "0.3", "--out", "X"]
    done = decoupled(*command, cwd=tmp_path, seconds=110)

    assert done.returncode == 0, done.stderr
    out = tmp_path / "X"
    table = [line.split() for line in done.stdout.partition("\nside ")[2].splitlines()[1 : len(SIDES) + 1]]
    assert [row[0] for row in table] == SIDES
    assert {path.name for path in (out / "runs").iterdir()} == {f"{side}-as-is-1" for side in SIDES}
    assert all((run / "report.json").exists() for run in (out / "runs").iterdir())
    report = json.loads((out / "report.json").read_text())
    assert [one["side"] for one in report["cases"]] == SIDES
    assert report["command"] == "decoupled " + " ".join(command)
    assert all(one["rounds"][0]["test_accuracy"] > 0.3 and one["rounds"][0]["target_s"] > 0 for one in report["cases"])
    assert [row[0] for row in cells((out / "table.md").read_text())] == SIDES
    assert [row[3] for row in cells((out / "table.md").read_text())][1] == "1.00", "lockstep against itself"
    assert (out / "report.md").read_text().count("](pictures/") == 3
    pictures = {path.name for path in (out / "pictures").iterdir() if path.stat().st_size}
    assert pictures == {f"{name}.{form}" for name in ("throughput", "learning", "timeline") for form in ("png", "svg")}
    assert traced(out / "trace.json") == SIDES

    again = decoupled(*command, cwd=tmp_path)

    assert again.returncode == 2
    assert is_one_sentence(again.stderr, "error: X already holds something"), again.stderr


def traced(path: Path) -> list[str]:
    """The runs in a trace, whose arrows all have two ends."""
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    starts, ends = ([e["id"] for e in events if e["ph"] == phase] for phase in "sf")
    assert starts
    assert sorted(starts) == sorted(ends)
    return [str(e["args"]["name"]) for e in events if e["name"] == "process_name"]


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_a_benchmark_leaves_no_process(tmp_path: Path) -> None:
    options = ["--hidden", "16", "--epochs", "100000", "--schedule", "lockstep", "--warm-up", "1", "--out", "X"]
    process = started("bench", *options, cwd=tmp_path)
    try:
        until("the trial to train", lambda: trained(tmp_path / "X/runs/lockstep-as-is-1"), seconds=60)
        family = psutil.Process(process.pid).children(recursive=True)

        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)

        assert process.returncode == 130
        assert is_one_sentence(said, "Interrupted; no process is left."), said
        assert len(family) == 1 + 2, "the trial and its workers"
        assert gone(family)
    finally:
        process.kill()
        process.communicate()


def trained(run: Path) -> bool:
    metrics = run / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0


def test_a_benchmark_of_one_side_leaves_its_report(tmp_path: Path) -> None:
    done = decoupled(*QUICK, "--schedule", "lockstep", "--out", "X", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert [one["side"] for one in json.loads((tmp_path / "X/report.json").read_text())["cases"]] == ["lockstep"]


def test_a_missing_torch_is_refused_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_there", lambda: False)
    done = in_process(*QUICK, "--schedule", "lockstep", "--peers", "torch", "--out", "X", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert "pip install" in done.stderr
    assert not (tmp_path / "X").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--schedule", "magic"], "There is no schedule 'magic' to compare"),
        (["--peers", "jax"], "There is no peer 'jax'"),
        (["--straggler", "9:2", "--schedule", "lockstep"], "there is no stage 9 to slow down"),
        (["--warm-up", "1000", "--epochs", "1"], "The run makes no more updates than the 1000"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = in_process("bench", "--microbatches", "2", *arguments, "--out", "X", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert said.lower() in done.stderr.lower()


def test_runs_become_a_trace_and_a_picture(tmp_path: Path) -> None:
    finished_run(tmp_path / "one", "single")
    finished_run(tmp_path / "two", "lockstep")

    done = decoupled("trace", "one", "two", "-o", "f.json", "--picture", "p", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert traced(tmp_path / "f.json") == ["single", "lockstep"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "p.svg").read_text().count("updates per stage") == 2
    assert done.stdout.splitlines()[0].startswith("f.json: ")
    assert done.stdout.splitlines()[1:] == ["p.png", "p.svg"]


def test_a_trace_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path) -> None:
    finished_run(tmp_path / "one", "single")

    no_run = in_process("trace", "one", "nowhere", "-o", "f.json", cwd=tmp_path)
    no_place = in_process("trace", "one", "-o", "missing/f.json", cwd=tmp_path)

    assert (no_run.returncode, no_place.returncode) == (2, 2)
    assert is_one_sentence(no_run.stderr, "error: nowhere holds no finished run"), no_run.stderr
    assert is_one_sentence(no_place.stderr, "error: missing/f.json cannot be written"), no_place.stderr
    assert not (tmp_path / "f.json").exists()
