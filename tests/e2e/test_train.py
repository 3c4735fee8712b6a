"""The main job with real processes, from the command to the files it leaves."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from decoupled import Progress, Run, load_network, train
from tests.e2e.commands import SMALL, decoupled, in_process, is_one_sentence

FIELDS = {
    "schedule", "workers", "data", "samples_per_s", "seconds", "epochs", "updates", "test_accuracy", "test_loss", "overlap",
    "workers_detail", "evaluations", "restarts", "incidents", "seed", "versions", "task", "test_mae", "test_metrics", "test_r2",
}  # fmt: skip
DETAIL_FIELDS = {
    "stage", "layers", "host", "busy", "wait", "samples", "staleness_mean", "staleness_max", "truth", "head_cosine",
    "unmatched_gradients", "evicted", "dropped", "generation", "restarts", "missed", "samples_missed",
    "peak_rss_mb", "bytes_sent", "bytes_received",
}  # fmt: skip


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dni run on the digits."""
    folder = tmp_path_factory.mktemp("runs")
    done = decoupled("train", "--out", "run", "--json", "copy.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_dni_learns_the_digits(digits_run: Path) -> None:
    report = json.loads((digits_run / "report.json").read_text())

    assert report["test_accuracy"] >= 0.97
    assert report["workers"] == 4
    assert report["updates"] == 20 * 23
    assert [detail["samples"] for detail in report["workers_detail"]] == [20 * 1437] * 4
    assert [detail["head_cosine"] is None for detail in report["workers_detail"]] == [False, False, False, True]


def test_the_report_has_the_names_that_other_tools_read(digits_run: Path) -> None:
    report = json.loads((digits_run / "report.json").read_text())

    assert report.keys() == FIELDS
    assert all(detail.keys() == DETAIL_FIELDS for detail in report["workers_detail"])
    assert json.loads((digits_run.parent / "copy.json").read_text()) == report


def test_the_run_folder_holds_every_value_that_was_used(digits_run: Path) -> None:
    files = {"run.toml", "data.json", "metrics.jsonl", "report.json", "account.json", "model.safetensors", "spans.safetensors"}
    assert {path.name for path in digits_run.iterdir()} - {"checkpoints"} == files  # which a quick run has no time for
    values = tomllib.loads((digits_run / "run.toml").read_text())

    assert (values["feedback_every"], values["dni"]["feedback"], values["heads"]["lr"]) == (4, "chained", 0.003)
    assert values["network"]["loss"] == "softmax"
    assert all(json.loads(line)["workers"] for line in (digits_run / "metrics.jsonl").read_text().splitlines())


def test_eval_finds_what_the_workers_found(digits_run: Path) -> None:
    report = json.loads((digits_run / "report.json").read_text())

    done = in_process("eval", "run", "--json", "eval.json", cwd=digits_run.parent)

    assert done.returncode == 0, done.stderr
    found = json.loads((digits_run.parent / "eval.json").read_text())
    assert found["test_accuracy"] == pytest.approx(report["test_accuracy"], abs=1e-6)
    assert found["test_loss"] == pytest.approx(report["test_loss"], rel=1e-4)
    assert found["samples"] == 360


def test_predict_answers_raw_inputs(digits_run: Path, tmp_path: Path) -> None:
    from decoupled.data.digits import digits

    data = digits()
    np.save(tmp_path / "x.npy", data.x_test)

    done = in_process("predict", str(digits_run), "--input", "x.npy", "--output", "y.npy", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "y.npy")
    assert np.mean(answers == data.y_test) >= 0.97


@pytest.mark.slow
def test_a_run_can_be_repeated_from_its_own_run_toml(digits_run: Path, tmp_path: Path) -> None:
    done = decoupled("train", "--config", str(digits_run / "run.toml"), "--epochs", "1", "--out", "again", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    first, again = (tomllib.loads((folder / "run.toml").read_text()) for folder in (digits_run, tmp_path / "again"))
    assert again == first | {"epochs": 1}


def test_compare_prints_runs_side_by_side(digits_run: Path, tmp_path: Path) -> None:
    decoupled("train", *SMALL, "--hidden", "16", "--schedule", "lockstep", "--out", "lockstep", cwd=tmp_path)

    done = in_process("compare", str(digits_run), "lockstep", cwd=tmp_path)

    header, dni, lockstep = done.stdout.strip().splitlines()
    assert header.split("  ")[0] == "schedule"
    assert dni.split()[0] == "dni"
    assert lockstep.split()[:2] == ["lockstep", "2"]
    assert "1.00 x" in lockstep


def test_lockstep_over_processes_gives_the_weights_of_single_bit_for_bit() -> None:
    reports = [train(Run(hidden=(64, 48, 32), epochs=2, batch=50, schedule=schedule)) for schedule in ("lockstep", "single")]

    there, alone = (report.network.arrays for report in reports)
    assert there.keys() == alone.keys()
    for name, array in alone.items():
        assert (array == there[name]).all(), name
    assert reports[0].test_accuracy == reports[1].test_accuracy


@pytest.mark.parametrize("schedule", ["gpipe", "2bw", pytest.param("1f1b", marks=pytest.mark.slow)])
def test_a_pipeline_of_processes_learns_the_digits(schedule: str, tmp_path: Path) -> None:
    done = decoupled("train", "--epochs", "2", "--schedule", schedule, "--microbatches", "2", "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["schedule"], report["workers"], report["updates"]) == (schedule, 4, 2 * 23)
    assert [detail["samples"] for detail in report["workers_detail"]] == [2 * 1437] * 4
    assert report["test_accuracy"] >= 0.95
    assert max(detail["staleness_max"] for detail in report["workers_detail"]) <= (schedule == "2bw")
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["microbatches"] == 2


@pytest.mark.slow
def test_beside_a_straggler_outputs_are_dropped_and_the_first_stage_trains_on_every_sample(tmp_path: Path) -> None:
    straggler = ["--set", "emulation.straggler=3", "--set", "emulation.straggler_factor=20"]

    done = decoupled("train", *SMALL, "--overflow", "latest", *straggler, "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    samples, dropped = ([detail[name] for detail in report["workers_detail"]] for name in ("samples", "dropped"))
    assert samples[0] == 3 * 1437
    assert samples[3] < samples[0]
    assert sum(dropped[:3]) > 0
    assert dropped[3] == 0
    assert report["evaluations"][-1]["epoch"] == 3


@pytest.mark.slow
def test_dni_workers_compute_at_the_same_time_and_lockstep_workers_take_turns() -> None:
    """The proof of asynchrony, from the spans of all workers, on emulated devices: these wait for no core of this machine."""
    run = Run(epochs=2, emulation={"device_ms": 20.0})

    overlaps = {schedule: train(run.model_copy(update={"schedule": schedule})).overlap for schedule in ("dni", "lockstep")}

    assert overlaps["dni"] > 0.7
    assert overlaps["lockstep"] < 0.2


def test_from_python_with_arrays_a_callback_and_the_network_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((600, 8)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] > 0)
    seen: list[Progress] = []

    report = train(
        Run(data={"x_train": x[:500], "y_train": y[:500], "x_test": x[500:], "y_test": y[500:]}, hidden=(32, 32), epochs=40),
        out=tmp_path / "run",
        on_progress=seen.append,
    )

    assert report.test_accuracy is not None
    assert report.test_accuracy > 0.85
    assert seen[-1].samples == 40 * 500
    assert len(seen[-1].workers) == 3
    assert (report.network.predict(x[500:]) == load_network(tmp_path / "run").predict(x[500:])).all()


@pytest.mark.parametrize("evaluate_every", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_evaluations_on_the_way_are_recorded(evaluate_every: int) -> None:
    report = train(Run(hidden=(32,), epochs=4, runtime={"evaluate_every": evaluate_every}))

    assert [evaluation.epoch for evaluation in report.evaluations] == list(range(evaluate_every, 5, evaluate_every))
    assert report.evaluations[-1].accuracy == pytest.approx(report.test_accuracy, abs=1e-6)


@pytest.mark.slow
def test_addition_is_really_solved(tmp_path: Path) -> None:
    """Exact sums of pairs the network has never seen, which the tutorial's last listing never gets right."""
    done = decoupled("train", "--data", "addition", "--out", "run", cwd=tmp_path, seconds=100)

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "report.json").read_text())["test_accuracy"] >= 0.99


@pytest.mark.slow
def test_states_and_results_that_are_larger_than_a_message_may_be_are_kept_and_gone_on_from(tmp_path: Path) -> None:
    """Each layer has 262,144 bytes of weights, and a worker that is lost goes on from three times as much."""
    options = ["--hidden", "256,256,256", "--epochs", "4", "--set", "checkpoint.every=5", "--fault", "kill:stage=1,microbatch=40"]

    done = decoupled("train", *options, "--set", "link.message_bytes_max=132000", "--out", "run", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    incidents = json.loads((tmp_path / "run" / "report.json").read_text())["incidents"]
    assert [incident["what"] for incident in incidents] == ["lost", "rejoined"]
    assert load_network(tmp_path / "run").arrays["layer1.weight"].nbytes == 1 << 18


def test_a_message_limit_that_a_batch_does_not_fit_into_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    done = in_process("train", *SMALL, "--set", "link.message_bytes_max=2000", "--out", "run", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "link.message_bytes_max is 2,000" in done.stderr
    assert not (tmp_path / "run").exists()
