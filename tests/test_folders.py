"""The folder of a run: made once, trained in by one process at a time, whole when its report is there, read with suspicion."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import folders, train
from decoupled.checkpoint import save_arrays
from decoupled.config import Run
from decoupled.errors import UsageError
from decoupled.runtime.report import Report
from tests.datasets import blobs

WRITTEN = ["account.json", "model.safetensors", "report.json", "spans.safetensors"]


@pytest.fixture(scope="session")
def report() -> Report:
    """What a small run came to."""
    data = blobs(train=60, test=20)
    arrays = {"x_train": data.x_train, "y_train": data.y_train, "x_test": data.x_test, "y_test": data.y_test}
    return train(Run(data=arrays, schedule="single", hidden=(4,), epochs=1, batch=20))


def refusal(read: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(UsageError) as refused:
        read(folder)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_gets_a_folder_that_holds_nothing_yet(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "runs" / "mine"
    if is_there:
        folder.mkdir(parents=True)

    assert folders.new_folder(folder) == folder
    assert list(folder.iterdir()) == []


def test_a_folder_that_holds_something_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for taken in (tmp_path, tmp_path / "file"):
        expected = f"{taken} already holds something. Choose another folder for the run, or remove this one."
        assert refusal(folders.new_folder, taken) == expected


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = refusal(folders.new_folder, tmp_path / "file" / "run")

    assert said == f"{tmp_path / 'file' / 'run'} cannot be made: Not a directory. Choose another folder for the run."


def test_a_run_is_read_back_from_its_folder(tmp_path: Path) -> None:
    run = Run(hidden=(8, 8), checkpoint={"every": 5}, faults=[{"kind": "kill", "stage": 1, "microbatch": 3}])

    folders.begin(tmp_path, run)

    assert folders.load_run(tmp_path) == run
    assert Run(**folders.as_it_was(tmp_path)) == run


def test_a_run_that_ended_before_it_began_leaves_no_folder(tmp_path: Path) -> None:
    folder = folders.new_folder(tmp_path / "run")
    folders.begin(folder, Run())
    (folder / "metrics.jsonl").touch()

    folders.remove_if_nothing_happened(folder)

    assert not folder.exists()


def test_a_run_that_had_begun_keeps_its_folder(tmp_path: Path) -> None:
    folders.begin(tmp_path, Run())
    (tmp_path / "metrics.jsonl").write_text("{}\n")

    folders.remove_if_nothing_happened(tmp_path)

    assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "run.toml"]


def test_a_folder_is_trained_in_by_one_at_a_time(tmp_path: Path) -> None:
    folders.begin(tmp_path, Run())

    with folders.alone(tmp_path), pytest.raises(UsageError) as refused, folders.alone(tmp_path):
        pytest.fail("two at once")
    with folders.alone(tmp_path):
        again = True

    assert str(refused.value) == f"{tmp_path} is being trained by another process. Wait for its end, or stop it."
    assert again


def test_a_process_that_was_killed_holds_its_folder_no_more(tmp_path: Path) -> None:
    folders.begin(tmp_path, Run())
    program = "import sys; from pathlib import Path; from decoupled import folders\n"
    program += "with folders.alone(Path(sys.argv[1])): print('mine', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(UsageError), folders.alone(tmp_path):
            pytest.fail("two at once")
        holder.kill()

    with folders.alone(tmp_path):
        is_free = True
    assert is_free


def test_what_a_run_came_to_is_read_back(tmp_path: Path, report: Report) -> None:
    kept = folders.keep(report, tmp_path)

    assert kept.folder == tmp_path
    assert sorted(os.listdir(tmp_path)) == WRITTEN
    assert folders.load_report(tmp_path) == json.loads(json.dumps(report.to_json()))
    network = folders.load_network(tmp_path)
    assert network.about == report.network.about
    for name, array in report.network.arrays.items():
        np.testing.assert_array_equal(network.arrays[name], array)
    (rows,) = folders.load_spans(tmp_path)
    np.testing.assert_array_equal(rows, report.spans[0])


def test_its_account_says_which_microbatches_were_trained_on(tmp_path: Path, report: Report) -> None:
    folders.keep(report, tmp_path)

    account = json.loads((tmp_path / "account.json").read_text())

    assert account == {"fed": [[0, 2]], "stages": [{"stage": 0, "trained": [[0, 2]], "missed": []}]}


@pytest.mark.parametrize("number", range(4))
def test_a_run_whose_files_could_not_all_be_written_has_no_report(
    tmp_path: Path, report: Report, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed, rename = list[object](), os.replace

    def fail(source: Path, target: Path) -> None:
        renamed.append(target)
        if len(renamed) == number + 1:
            raise OSError("No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(folders.NotKept, match="No space left"):
        folders.keep(report, tmp_path)

    assert len(os.listdir(tmp_path)) == number
    assert refusal(folders.load_report, tmp_path).startswith(f"{tmp_path} holds no finished run: ")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("report.json", folders.load_report),
        ("model.safetensors", folders.load_network),
        ("spans.safetensors", folders.load_spans),
    ],
)
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b"\x80\x04\x95."], ids=str)
def test_what_is_not_a_runs_own_file_is_named(tmp_path: Path, name: str, read: Callable[[Path], object], content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert str(tmp_path / name) in refusal(read, tmp_path)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (folders.load_run, "holds no run"),
        (folders.as_it_was, "holds no run"),
        (folders.load_report, "holds no finished run"),
        (folders.load_network, "There is no file"),
        (folders.load_spans, "There is no file"),
    ],
)
def test_a_folder_without_a_run_is_named(tmp_path: Path, read: Callable[[Path], object], said: str) -> None:
    found = refusal(read, tmp_path)

    assert said in found
    assert str(tmp_path) in found


DIVERGED = json.dumps({"incidents": [{"what": "interrupted", "detail": "The run diverged: its loss was no number any more."}]})
STOPPED = json.dumps({"incidents": [{"what": "interrupted", "detail": "by Ctrl-C"}]})


@pytest.mark.parametrize(
    ("schedule", "records", "said"),
    [
        ("dni", [STOPPED], "--resume"),
        ("dni", [], "--resume"),
        ("dni", ["{", "[]"], "--resume"),
        ("dni", [DIVERGED, STOPPED], "Go on with it"),
        ("dni", [STOPPED, DIVERGED], "with a lower lr"),
        ("single", [DIVERGED], "with a lower lr"),
        ("single", [STOPPED], "Train it anew"),
    ],
)
def test_an_unfinished_run_is_advised_by_how_it_ended(tmp_path: Path, schedule: str, records: list[str], said: str) -> None:
    folders.begin(tmp_path, Run(schedule=schedule))
    (tmp_path / "metrics.jsonl").write_text("".join(f"{record}\n" for record in records))

    found = refusal(folders.load_network, tmp_path)

    assert said in found
    assert ("--resume" in found) == (schedule != "single")


@pytest.mark.parametrize(
    "change",
    [
        lambda about: {},
        lambda about: {"architecture": 3},
        lambda about: {"architecture": about | {"widths": None}},
        lambda about: {"architecture": about | {"widths": [6, 5, 3]}},
        lambda about: {"architecture": about | {"more": 1}},
    ],
)
def test_a_model_of_another_form_is_named(
    tmp_path: Path, report: Report, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    path = tmp_path / "model.safetensors"
    save_arrays(path, report.network.arrays, change(dict(report.network.about["architecture"])))

    assert refusal(folders.load_network, tmp_path).startswith(f"{path} is not a model that decoupled wrote: ")


@pytest.mark.parametrize(
    "arrays",
    [{"stage1": np.zeros((1, 4))}, {"stage0": np.zeros(4)}, {"stage0": np.zeros((2, 3))}, {"weights": np.zeros((1, 4))}],
    ids=["no first stage", "one row", "too narrow", "no stage"],
)
def test_spans_of_another_form_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    save_arrays(tmp_path / "spans.safetensors", arrays, {})

    assert "spans.safetensors, but not one that decoupled wrote" in refusal(folders.load_spans, tmp_path)


def test_a_run_without_a_folder_gets_one_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20260102-030405")
    run = Run(data="/somewhere/mine.npz")

    first = folders.fresh_folder(run, "dni")
    first.mkdir(parents=True)
    second = folders.fresh_folder(run, "dni")

    assert first == Path("runs") / "mine-dni-20260102-030405"
    assert second == Path("runs") / f"mine-dni-20260102-030405-{os.getpid()}"
