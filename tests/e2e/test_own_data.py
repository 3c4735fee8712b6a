"""A user's own data by the command line: what is learnt of it, what is answered, and what is refused in a sentence."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import Run, UsageError, api, folders, trained
from decoupled.tensors import Array
from tests.e2e.commands import in_process

SINGLE = ("--schedule", "single", "--hidden", "16", "--epochs", "8")
rng = np.random.default_rng(0)
X = rng.standard_normal((400, 5))
PRICES = 300_000 + 80_000 * X[:, 0] + 40_000 * np.abs(X[:, 1])


def saved(folder: Path, y: Array) -> None:
    np.savez(folder / "mine.npz", x_train=X[:300], y_train=y[:300], x_test=X[300:], y_test=y[300:])
    np.save(folder / "x.npy", X[300:])


def training_says(folder: Path, *options: str) -> str:
    """What training says."""
    done = in_process("train", "--data", "mine.npz", "--out", "run", *SINGLE, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_labels_of_texts_come_back_and_so_do_their_probabilities(tmp_path: Path) -> None:
    labels = np.where(X[:, 0] > 0, "up", "down")
    saved(tmp_path, labels)

    assert "classification, 2 classes, as its targets look" in training_says(tmp_path)
    for options, said in (((), "0.npy: 100 answers\n"), (("--proba",), "1.npy: 100 answers of shape (2,)\n")):
        done = in_process("predict", "run", "--input", "x.npy", "--output", f"{len(options)}.npy", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == said

    answers, chances = (np.load(tmp_path / f"{n}.npy", allow_pickle=False) for n in (0, 1))
    assert np.mean(answers == labels[300:]) == pytest.approx(folders.load_report(tmp_path / "run")["test_accuracy"])
    assert np.array(["down", "up"])[chances.argmax(axis=1)].tolist() == answers.tolist()


@pytest.mark.parametrize("shape", [(400,), (400, 1)])
def test_values_are_answered_in_their_units_and_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    saved(tmp_path, PRICES.reshape(shape))

    assert "regression, 1 value, as" in training_says(tmp_path)
    report = folders.load_report(tmp_path / "run")
    found = in_process("eval", "run", "--json", "eval.json", cwd=tmp_path)
    answers = trained.predict(tmp_path / "run", tmp_path / "x.npy", tmp_path / "answers.npy")

    apart = answers - PRICES[300:].reshape(100, *shape[1:])
    assert apart.shape == (100, *shape[1:])
    assert report["test_mae"] == pytest.approx(np.abs(apart).mean(), rel=1e-4)
    assert report["test_r2"] == pytest.approx(1 - np.square(apart).mean() / PRICES[300:].var(), rel=1e-4)
    assert "of standardised values" in found.stdout
    assert json.loads((tmp_path / "eval.json").read_text())["test_r2"] == pytest.approx(report["test_r2"], abs=1e-5)
    assert "test R2" in in_process("compare", "run", cwd=tmp_path).stdout


def test_runs_of_one_schedule_are_compared_by_name_whatever_they_learn_from(tmp_path: Path) -> None:
    saved(tmp_path, PRICES)
    training_says(tmp_path)
    for name in ("digits", "digits-again"):
        assert in_process("train", "--out", name, *SINGLE, cwd=tmp_path).returncode == 0

    done = in_process("compare", "digits", "digits-again", "run", cwd=tmp_path, columns=80)

    header, *rows = (line.split() for line in done.stdout.splitlines())
    digits, again, values = (dict(zip(header, " ".join(row).replace(" x ", "x ").split(), strict=True)) for row in rows)
    assert (digits["run"], again["run"], values["run"]) == ("digits", "digits-again", "run")
    assert digits["speed-up"] == "1.00x"
    assert again["speed-up"].endswith("x")
    assert (values["speed-up"], values["accuracy"]) == ("-", "-")
    assert (digits["R2"], digits["error"]) == ("-", "-")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_task_can_be_said(tmp_path: Path) -> None:
    saved(tmp_path, rng.integers(0, 200, 400))

    done = in_process("train", "--data", "mine.npz", "--out", "guessed", *SINGLE, cwd=tmp_path)
    said = training_says(tmp_path, "--task", "regression")

    assert "--task regression" in done.stdout
    assert "regression, 1 value\n" in said
    assert "warning" not in said
    assert folders.load_run(tmp_path / "run").task == folders.load_report(tmp_path / "run")["task"] == "regression"


def test_other_data_is_evaluated_by_the_labels_that_were_trained_on(tmp_path: Path) -> None:
    labels = np.array([3, 5, 9])[(X[:, 0] > 0) + (X[:, 0] > 1).astype(int)]
    saved(tmp_path, labels)
    training_says(tmp_path)

    def other(y: Array) -> dict[str, Any]:
        return {"x_train": X[:300], "y_train": y[:300], "x_test": X[300:], "y_test": y[300:]}

    answers = trained.predict(tmp_path / "run", tmp_path / "x.npy", tmp_path / "answers.npy")
    only = np.full(400, 9)
    assert trained.evaluate(tmp_path / "run", other(only)).accuracy == pytest.approx(np.mean(answers == 9))
    with pytest.raises(UsageError, match="label 4"):
        trained.evaluate(tmp_path / "run", other(np.full(400, 4)))


def test_an_archive_is_no_input(tmp_path: Path) -> None:
    saved(tmp_path, PRICES)
    training_says(tmp_path)

    done = in_process("predict", "run", "--input", "mine.npz", "--output", "y.npy", cwd=tmp_path)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Give an .npy file" in done.stderr


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_not_answered(tmp_path: Path, value: float) -> None:
    saved(tmp_path, PRICES)
    training_says(tmp_path)
    x = X.copy()
    x[3, 1] = value
    np.save(tmp_path / "x.npy", x)

    done = in_process("predict", "run", "--input", "x.npy", "--output", "y.npy", cwd=tmp_path)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "row 3" in done.stderr
    assert not (tmp_path / "y.npy").exists()


def test_a_run_that_diverges_has_an_exit_code_of_its_own_and_no_network(tmp_path: Path) -> None:
    diverging = ("--lr", "1e6", "--set", "optimiser.name=sgd", "--set", "network.batch_norm=false")

    done = in_process("train", "--out", "run", *SINGLE, *diverging, cwd=tmp_path)

    assert done.returncode == 3
    assert "diverged" in done.stderr
    assert "lower lr" in done.stderr
    for command in (("eval", "run"), ("export", "run", "--to", "x.npz")):
        assert in_process(*command, cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--hidden", ""), "--set hidden=[]"),
        (("train", "--task", "guess"), "task"),
        (("train", "--task", "regression"), "are for classification, not regression"),
        (("predict", "run", "--input", "x.npy", "--output", "y.csv"), ".npy"),
        (("trace", "run", "--picture", "x.gif"), ".png"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = in_process(*arguments, cwd=tmp_path)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_finished_run_on_a_full_disk_says_what_it_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("decoupled.folders.checkpoint.save_arrays", full)
    done = in_process("train", "--out", "run", *SINGLE, cwd=tmp_path)

    assert done.returncode == 1
    assert "single on digits: test accuracy" in done.stdout
    assert "No space left on device" in done.stderr
    with pytest.raises(folders.NotKept) as found:
        api.train(Run(schedule="single", hidden=(16,), epochs=1), tmp_path / "again")
    assert found.value.report.test_accuracy is not None


def test_a_run_that_a_full_disk_left_unfinished_is_finished_by_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = Run(hidden=(16,), epochs=3, checkpoint={"every": 20})
    with monkeypatch.context() as filled:
        filled.setattr("decoupled.folders.checkpoint.save_arrays", full)
        with pytest.raises(folders.NotKept, match="decoupled train --resume"):
            api.train(run, tmp_path / "run")

    report = api.resume(tmp_path / "run")

    assert folders.load_report(tmp_path / "run")["test_accuracy"] == report.test_accuracy


def test_a_fault_that_cannot_strike_is_said_at_the_start(tmp_path: Path) -> None:
    faults = ("--fault", "kill:stage=1,microbatch=1000")

    done = in_process("train", "--out", "run", "--hidden", "16", "--epochs", "1", *faults, cwd=tmp_path)

    assert "kill:stage=1,microbatch=1000 will never strike" in done.stdout
