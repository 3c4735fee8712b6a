"""Metrics of a user's own by the command line: wherever the accuracy is told, they are as well."""

import json
from pathlib import Path

import pytest

from decoupled import Run, UsageError, folders
from tests.e2e.commands import in_process

CODE = """
import numpy as np

def top3(outputs, targets):
    return (np.argsort(outputs, axis=-1)[..., -3:] == targets[..., None]).any(axis=-1)

def broken(outputs, targets):
    return outputs.nothing
"""
SMALL = ("--hidden", "16", "--epochs", "2", "--set", "runtime.evaluate_every=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_metrics.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize("schedule", ["single", "dni"])
def test_a_metric_is_told_while_training_and_after(folder: Path, schedule: str) -> None:
    named = ("--metric", "my_metrics.py:top3", "--metric", "top5")

    done = in_process("train", *SMALL, "--schedule", schedule, *named, "--out", "run", cwd=folder)

    assert done.returncode == 0, done.stderr
    report = folders.load_report(folder / "run")
    assert report["test_accuracy"] < report["test_metrics"]["top3"] <= report["test_metrics"]["top5"] <= 1
    assert [list(one["metrics"]) for one in report["evaluations"]] == [["top3", "top5"]] * 2
    said = f"top3 {report['test_metrics']['top3']:.4g}, top5 {report['test_metrics']['top5']:.4g}"
    assert done.stdout.count(said) == 2  # after the last epoch, and at the end
    evaluated = in_process("eval", "run", "--code", "my_metrics.py", "--json", "eval.json", cwd=folder)
    assert said in evaluated.stdout
    assert json.loads((folder / "eval.json").read_text())["test_metrics"] == pytest.approx(report["test_metrics"], abs=1e-6)
    assert "top3" in in_process("compare", "run", cwd=folder).stdout


@pytest.mark.parametrize(
    ("named", "code", "said"),
    [
        (("my_metrics.py:top4",), 2, "has no top4. Did you mean top3?"),
        (("topp5",), 2, "did you mean top5?"),
        (("top5", "top5"), 2, "Each metric needs a name of its own."),
        (("my_metrics.py:broken",), 1, "The metric broken failed: AttributeError"),
    ],
)
@pytest.mark.parametrize("schedule", ["single", "dni"])
def test_a_metric_that_cannot_be_is_told_before_anything_is_trained(
    folder: Path, schedule: str, named: tuple[str, ...], code: int, said: str
) -> None:
    options = [part for name in named for part in ("--metric", name)]

    done = in_process("train", *SMALL, "--schedule", schedule, *options, "--out", "run", cwd=folder)

    assert done.returncode == code
    assert said in done.stderr
    assert not (folder / "run").exists()


def test_reports_of_before_have_no_metrics(folder: Path) -> None:
    done = in_process("train", *SMALL, "--schedule", "single", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    path = folder / "run" / "report.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "test_metrics"}))

    assert folders.load_report(folder / "run")["test_metrics"] == {}


def test_metrics_in_python_are_functions(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot be found by other processes"):
        Run(metrics=(lambda outputs, targets: 0.0,))
