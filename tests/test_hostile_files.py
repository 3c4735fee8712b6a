"""Files from strangers are data, never code: a dataset, inputs, a run folder, a checkpoint and a config with a bomb in them."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import decoupled
from decoupled import api, folders, trained
from decoupled.checkpoint import Store
from decoupled.config import from_toml
from decoupled.data.arrays import from_npz
from decoupled.errors import UsageError


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """Where a bomb would show that it went off, which it must not."""
    path = tmp_path / "went-off"
    yield path
    assert not path.exists()


def explosive_npy(mark: Path) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([Bomb(mark)], object), allow_pickle=True)
    return content.getvalue()


def test_the_bomb_goes_off_where_pickles_are_read(tmp_path: Path) -> None:
    there = tmp_path / "there"

    pickle.loads(pickle.dumps(Bomb(there)))  # noqa: S301 (what this file is about)

    assert there.exists()


@pytest.mark.parametrize(("form", "refusal"), [("npz", "holds Python objects"), ("npy", "is not an"), ("pickle", "is not an")])
def test_a_dataset_with_a_bomb_in_it_is_refused(form: str, refusal: str, tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "data.npz"
    if form == "npz":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                archive.writestr(f"{name}.npy", explosive_npy(mark))
    else:
        path.write_bytes(explosive_npy(mark) if form == "npy" else pickle.dumps(Bomb(mark)))

    with pytest.raises(UsageError, match=refusal):
        from_npz(path)


def a_run_folder(folder: Path) -> Path:
    """A small network in the folder of a run."""
    x, y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
    data = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    api.train(decoupled.Run(data=data, hidden=(4,), epochs=1, batch=10, schedule="single"), out=folder)
    return folder


@pytest.mark.parametrize("content", [explosive_npy, lambda mark: pickle.dumps(Bomb(mark))], ids=["npy", "pickle"])
def test_inputs_with_a_bomb_in_them_are_refused(content: Callable[[Path], bytes], tmp_path: Path, mark: Path) -> None:
    run, inputs = a_run_folder(tmp_path / "run"), tmp_path / "x.npy"
    inputs.write_bytes(content(mark))

    with pytest.raises(UsageError, match=r"is not an \.npy file of numbers"):
        trained.predict(run, inputs, tmp_path / "y.npy")


def safetensors(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("name", ["model.safetensors", "spans.safetensors", "report.json", "run.toml"])
def test_a_run_folder_with_a_bomb_in_it_is_refused(name: str, tmp_path: Path, mark: Path) -> None:
    run = a_run_folder(tmp_path / "run")
    loads: dict[str, Callable[[Path], object]] = {
        "model": folders.load_network, "spans": folders.load_spans, "report": folders.load_report, "run": folders.load_run,
    }  # fmt: skip
    for content in (
        pickle.dumps(Bomb(mark)),
        explosive_npy(mark),
        safetensors({"__metadata__": {"about": pickle.dumps(Bomb(mark)).decode("latin-1")}}),
        safetensors({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}),
        b'data = "!!python/object/apply:os.system [touch went-off]"\nhidden = "__import__(\'os\')"\n',
    ):
        (run / name).write_bytes(content)

        with pytest.raises(UsageError):
            loads[name.split(".")[0]](run)


@pytest.mark.parametrize("format", ["pickle", "json"])
def test_a_checkpoint_with_a_bomb_in_it_is_passed_over(format: str, tmp_path: Path, mark: Path) -> None:
    folder, warnings = tmp_path / "checkpoints" / "0000000001", list[str]()
    folder.mkdir(parents=True)
    bomb = pickle.dumps(Bomb(mark))
    manifest = {"format": 1, "microbatch": 1, "files": [{"bytes": len(bomb), "sha256": "../../x"}], "about": {"__reduce__": "x"}}
    (folder / "manifest.json").write_bytes(bomb if format == "pickle" else json.dumps(manifest).encode())
    (folder / "stage0.safetensors").write_bytes(bomb)

    assert Store(folder.parent, 3, warnings.append).latest() is None
    assert len(warnings) == 1


@pytest.mark.parametrize("text", ['data = "$(touch went-off)"', "[faults]\nkind = 1", "hidden = [1e999]", "\0", "[" * 10_000])
def test_a_config_file_is_values_and_nothing_else(text: str, tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)

    with pytest.raises(UsageError):
        api.load_data(decoupled.Run(**from_toml(path)))
