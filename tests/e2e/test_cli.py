"""The command line: what it prints, and how it refuses."""

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from decoupled import __version__
from tests.e2e.commands import SMALL, decoupled, in_process, is_one_sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--data", "cats"], "There is no dataset 'cats'"),
        (["train", "--data", "missing.npz"], "/missing.npz."),
        (["train", "--batch", "1"], "batch norm needs batches of at least 2"),
        (["train", "--schedule", "single", "--workers", "3"], "single trains in one process"),
        (["simulate", "--latency", "inf"], "finite numbers"),
        (["predict", "nowhere", "--input", "x", "--output", "y"], "There is no file nowhere"),
        (["train", "--data", "mnist", "--data-dir", "nowhere"], "nowhere holds no train-images-idx3-ubyte"),
        (["train", "--hidden", "many"], "--hidden takes widths"),
        (["train", "--hidden", "0"], "every hidden layer is 1 to 65536 wide"),
        (["train", "--schedule", "fast"], "There is no schedule 'fast'"),
        (["train", "--microbatches", "4"], "dni takes a batch whole"),
        (["train", "--schedule", "gpipe", "--batch", "6", "--microbatches", "4"], "microbatches of at least 2"),
        (["train", "--schedule", "1f1b", "--overflow", "latest"], "1f1b needs every microbatch's gradient"),
        (["train", "--overflow", "newest"], "dni.overflow: Input should be 'block'"),
        (["train", "--schedule", "lockstep", "--set", "emulation.drop=0.1"], "lockstep would wait for ever"),
        (["train", "--head", "none"], "There is no head 'none'"),
        (["train", "--epochs", "0"], "epochs: Input should be greater than or equal to 1"),
        (["train", "--lr", "-1"], "lr: Input should be greater than 0"),
        (["train", "--workers", "9"], "9 workers cannot share 4 layers"),
        (["plan", "--workers", "9"], "9 workers cannot share 4 layers"),
        (["plan", "--json", "missing/plan.json"], "missing/plan.json cannot be written"),
        (["train", "--set", "network.colour=blue"], "There is no setting network.colour"),
        (["train", "--set", "epochs"], "--set takes section.key=value"),
        (["train", "--set", "network.batch_norm=perhaps"], "network.batch_norm: Input should be a valid boolean"),
        (["train", "--set", "stages=[[0],[2]]"], "stages must hold the layers 0 to 3"),
        (["train", "--set", "network.loss=squared"], "The loss squared does not fit the targets of digits"),
        (["train", "--config", "missing.toml"], "missing.toml cannot be read as a run"),
        (["train", "--out", "/proc/run"], "/proc/run cannot be made"),
        (["train", *SMALL, "--json", "missing/report.json"], "missing/report.json cannot be written"),
        (["coordinator", "--schedule", "single"], "single has no workers"),
        (["coordinator", "--bind", "nonsense"], "nonsense is not an address"),
        (["worker", "--join", "nonsense"], "nonsense is not an address"),
        (["eval", "nowhere"], "There is no file nowhere/model.safetensors"),
        (["predict", "nowhere", "--input", "x", "--output", "y"], "There is no file nowhere/model.safetensors"),
        (["export", "nowhere", "--to", "model.npz"], "There is no file nowhere/model.safetensors"),
        (["compare", "nowhere"], "nowhere holds no finished run"),
        (["simulate", "--schedule", "magic"], "There is no schedule 'magic'"),
        (["simulate", "--schedule", "dni,local"], "A timeline is of one schedule"),
        (["simulate", "--seconds", "60"], "--seconds is for a network's file"),
        (["simulate", "net.toml", "--stages", "5"], "--stages stands in the file instead, where net.toml is given"),
        (["simulate", "net.toml"], "net.toml cannot be read as a network"),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = in_process(*arguments, cwd=tmp_path)

    assert done.returncode in (1, 2)
    assert is_one_sentence(done.stderr), done.stderr
    assert said.lower() in done.stderr.lower()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("kept")

    done = decoupled("train", *SMALL, "--out", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign"])
def test_a_damaged_model_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    in_process("train", *SMALL, "--schedule", "single", "--out", "run", cwd=tmp_path)
    model = tmp_path / "run" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[3] ^= 0xFF  # in the header's length
    model.write_bytes({"truncated": model.read_bytes()[:-100], "flipped": bytes(content), "foreign": b"hello"}[damage])

    done = in_process("eval", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "run/model.safetensors is not a file of arrays" in done.stderr


def test_predict_refuses_inputs_that_do_not_fit(tmp_path: Path) -> None:
    in_process("train", *SMALL, "--schedule", "single", "--out", "run", cwd=tmp_path)
    np.save(tmp_path / "wide.npy", np.zeros((2, 65)))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    (tmp_path / "text.npy").write_text("text")

    for name, said in {"wide": "(N, 64), not (2, 65)", "words": "must hold numbers", "text": "is not an .npy file"}.items():
        done = in_process("predict", "run", "--input", f"{name}.npy", "--output", "y.npy", cwd=tmp_path)
        assert done.returncode == 2
        assert is_one_sentence(done.stderr)
        assert said in done.stderr
    assert not (tmp_path / "y.npy").exists()


def test_options_go_over_the_file_and_settings_over_both(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('epochs = 1\nhidden = [8]\n[optimiser]\nname = "sgd"\nmomentum = 0.5\n')

    over = ["--hidden", "16", "--set", "optimiser.momentum=0.25", "--schedule", "single"]
    done = in_process("train", "--config", "run.toml", *over, "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    written = (tmp_path / "run" / "run.toml").read_text()
    assert "epochs = 1" in written
    assert "16," in written
    assert 'name = "sgd"' in written
    assert "momentum = 0.25" in written


def test_in_a_pipe_training_prints_plain_lines(tmp_path: Path) -> None:
    done = decoupled("train", *SMALL, "--out", "run", cwd=tmp_path)

    assert "\x1b" not in done.stdout
    assert re.search(r"epoch \d/3, [\d,]+ samples/s", done.stdout)
    assert "dni on digits: test accuracy" in done.stdout
    assert "The run is in run" in done.stdout


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    """So that the same command can be given again when the cause is gone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = decoupled("coordinator", "--bind", address, *SMALL, "--out", "run", cwd=tmp_path)

    assert done.returncode == 1
    assert not (tmp_path / "run").exists()


def test_the_version(tmp_path: Path) -> None:
    assert decoupled("--version", cwd=tmp_path).stdout == f"decoupled {__version__}\n"


def test_simulate_draws_a_timeline_and_prints_its_figures(tmp_path: Path) -> None:
    done = in_process(
        "simulate", "--schedule", "lockstep", "--stages", "3", "--microbatches", "2", "--json", "f.json", cwd=tmp_path
    )

    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["stage", "0"], ["stage", "1"], ["stage", "2"]]
    assert "bubble 0.667, utilisation 0.333, peak stash per stage 1, 1, 1" in done.stdout
    forecast = json.loads((tmp_path / "f.json").read_text())
    assert forecast["makespan"] == 2 * ((1 + 2) + (1 + 2) + (1 + 1))  # the first stage sends no gradient
    assert forecast["timeline"][0] == {"stage": 0, "action": "F0", "start": 0.0, "end": 1.0}


def test_simulate_draws_every_kind_of_feedback(tmp_path: Path) -> None:
    for feedback in ("chained", "bootstrapped", "adaptive", "corrected"):
        done = in_process(
            "simulate", "--feedback", feedback, "--latency", "1", "--synthesize", "1", "--refine", "1", cwd=tmp_path
        )

        assert done.returncode == 0, done.stderr
        assert ("C correction" in done.stdout) == (feedback == "corrected")


def test_simulate_cuts_batches_for_pipelines_alone(tmp_path: Path) -> None:
    updates = {}
    for schedule in ("gpipe", "1f1b", "2bw", "lockstep", "dni"):
        done = in_process(
            "simulate", "--schedule", schedule, "--microbatches", "8", "--minibatch", "4", "--json", "f.json", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        timeline = json.loads((tmp_path / "f.json").read_text())["timeline"]
        updates[schedule] = sum(slot["action"] == "U" for slot in timeline if slot["stage"] == 0)

    assert updates == {"gpipe": 2, "1f1b": 2, "2bw": 2, "lockstep": 8, "dni": 8}


def test_simulate_shows_what_overflows(tmp_path: Path) -> None:
    done = in_process(
        "simulate",
        "--overflow",
        "latest",
        "--window",
        "1",
        "--latency",
        "9",
        "--microbatches",
        "6",
        "--json",
        "f.json",
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    actions = [slot["action"][0] for slot in json.loads((tmp_path / "f.json").read_text())["timeline"]]
    assert "D" in actions
    assert ">" in actions


def test_a_plan_is_shown_without_training(tmp_path: Path) -> None:
    done = in_process("plan", "--data", "digits", "--workers", "2", "--json", "plan.json", cwd=tmp_path)

    assert done.returncode == 0
    assert "4 layers that learn 151,562 numbers" in done.stdout
    assert [stage["layers"] for stage in json.loads((tmp_path / "plan.json").read_text())["stages"]] == [[0, 1], [2, 3]]
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_network_on_paper_has_a_row_for_each_schedule(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text("[work]\nforward_ms = 10\nbackward_ms = 20\nsamples = 6\n[[devices]]\ncount = 3\n")

    done = in_process("simulate", "net.toml", "--schedule", "async1f1b,lockstep", "--json", "found.json", cwd=tmp_path)

    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["schedule", "async1f1b", "lockstep"]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["async1f1b"]["rate"] == pytest.approx(1 / 0.030, rel=0.01)
    assert found["lockstep"]["rate"] == pytest.approx(1 / 0.090, rel=0.01)
