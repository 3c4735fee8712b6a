"""From a trained run to a file for other programs, by the command."""

import os
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from decoupled.data.digits import digits
from tests.e2e.commands import SMALL, in_process, is_one_sentence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and one that never ended."""
    folder = tmp_path_factory.mktemp("runs")
    done = in_process("train", *SMALL, "--schedule", "single", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "run.toml").write_bytes((folder / "run" / "run.toml").read_bytes())
    return folder


def export(folder: Path, target: Path, run: str = "run") -> "subprocess.CompletedProcess[str]":
    return in_process("export", run, "--to", str(target), cwd=folder)


def test_an_exported_graph_answers_the_digits_as_predict_does(folder: Path, tmp_path: Path) -> None:
    x = digits().x_test
    np.save(tmp_path / "x.npy", x)
    in_process("predict", "run", "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy"), cwd=folder)

    done = export(folder, tmp_path / "model.onnx")

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'model.onnx'}: a network of 4 layers, 64 inputs and 10 outputs\n"
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(
        session.run(["answers"], {"inputs": x.reshape(len(x), -1).astype(np.float32)})[0], np.load(tmp_path / "y.npy")
    )


def test_exported_arrays_are_those_of_the_run(folder: Path, tmp_path: Path) -> None:
    trained = load_file(folder / "run" / "model.safetensors")

    for name in ("model.npz", "model.safetensors"):
        done = export(folder, tmp_path / name)
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        files = [load_file(tmp_path / "model.safetensors"), {name: archive[name] for name in archive if name != "about"}]

    for arrays in files:
        assert arrays.keys() == trained.keys()
        for name, array in trained.items():
            np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    ("run", "target", "said"),
    [
        ("run", "model.pt", "names no format to export to"),
        ("run", "missing/model.npz", "missing/model.npz cannot be written: No such file"),
        ("run", "taken.onnx", "taken.onnx cannot be written: Is a directory"),
        ("unfinished", "model.onnx", "unfinished holds no finished run. Train it anew"),
    ],
)
def test_what_cannot_be_exported_is_one_clear_sentence(run: str, target: str, said: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.onnx").mkdir()

    done = export(folder, tmp_path / target, run)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert said in done.stderr
    assert os.listdir(tmp_path) == ["taken.onnx"]
