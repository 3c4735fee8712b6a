"""The data of a run that is resumed: the same again, wherever they are; others are refused."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import api, folders
from decoupled.config import Run
from decoupled.data import load
from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Dataset
from decoupled.errors import RunFailed, UsageError
from decoupled.tensors import Array
from tests.resume.interrupted import USUAL, Started, begun, refusal


def arrays(**changed: Any) -> dict[str, Any]:
    """120 samples of four numbers each, of three classes."""
    x, y = np.random.default_rng(0).standard_normal((120, 4)), np.arange(120) % 3
    return {"x_train": x, "y_train": y, "x_test": x[:30], "y_test": y[:30]} | changed


OTHER = {"x_train": np.random.default_rng(1).standard_normal((120, 4))}


class Source(Dataset):
    """Data of a user's own, which are no mapping of arrays."""


def source(**changed: Any) -> Source:
    made = from_mapping(arrays(**changed), "mine")
    return Source(**{field.name: getattr(made, field.name) for field in fields(made)})


@pytest.mark.parametrize("given", [arrays, source])
def test_a_run_on_data_in_memory_goes_on_with_the_same_again(tmp_path: Path, started: Started, given: Callable[..., Any]) -> None:
    folder = begun(tmp_path / "run", 3, data=given())

    with pytest.raises(RunFailed):
        api.resume(folder, data=given())
    with pytest.raises(RunFailed):
        api.resume(folder, Run(**USUAL, data=given()))

    assert started.checkpoint is not None
    assert started.checkpoint.microbatch == 2
    assert "data" in refusal(folder, data=given(**OTHER))
    assert "decoupled.resume" in refusal(folder)


def test_data_that_have_changed_in_their_file_are_refused(tmp_path: Path, started: Started) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays())
    folder = begun(tmp_path / "run", 3, data=str(path))

    np.savez(path, **arrays(**OTHER))
    assert f"{path} have changed" in refusal(folder)

    np.savez_compressed(path, **arrays())  # the same arrays in another file
    with pytest.raises(RunFailed):
        api.resume(folder)
    assert started.checkpoint is not None


def test_a_folder_that_does_not_say_what_its_data_were_is_gone_on_with(tmp_path: Path, started: Started) -> None:
    """Those of earlier versions do not."""
    folder = begun(tmp_path / "run", 40)
    (folder / "data.json").unlink()

    with pytest.raises(RunFailed):
        api.resume(folder)

    assert started.checkpoint is not None


@pytest.mark.parametrize("text", ["", "3", "{}", "[" * 100_000, '{"fingerprint": 3}'])
def test_a_note_on_the_data_that_is_damaged_is_refused(tmp_path: Path, text: str) -> None:
    folder = begun(tmp_path / "run", 40)
    (folder / "data.json").write_text(text)

    assert refusal(folder)


def test_arrays_in_the_place_of_named_data_are_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", 50)

    assert "was trained with data digits, not arrays." in refusal(folder, Run(**USUAL, data=arrays()))


@pytest.mark.parametrize(("before", "now"), [(None, "shift"), ("shift", None), ("shift", "flip")])
def test_a_run_on_images_goes_on_with_the_same_augmentation_alone(tmp_path: Path, before: str | None, now: str | None) -> None:
    folder = begun(tmp_path / "run", 3, dataset={"augment": before})

    said = refusal(folder, Run(**USUAL, dataset={"augment": now}))

    assert f"was trained with dataset.augment {before}, not {now}." in said


def test_another_text_in_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text("once upon a time " * 200)
    folder = tmp_path / "run"
    folder.mkdir()
    folders.begin(folder, Run(data=f"text:{path}", model="gpt"))
    text = load(f"text:{path}")
    folders.record_data(folder, text)

    path.write_text("once upon a time, " * 200)

    with pytest.raises(UsageError, match=r"have changed since"):
        folders.refuse_other_data(folder, load(f"text:{path}"))
    assert json.loads((folder / "data.json").read_text())["labels"] == sorted(set("once upon a time "))


def test_data_in_a_file_is_the_same_by_whatever_path(tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.ones((60, 4)), np.arange(60) % 3
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    folder = begun(tmp_path / "run", data=str(tmp_path / "mine.npz"))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RunFailed), pytest.warns(RuntimeWarning, match="begins anew") as told:
        api.resume(folder, Run(**USUAL, data="mine.npz"))

    assert started.resolved is not None
    assert told[0].filename == __file__, "a warning points at the line of the user's that called"


@pytest.mark.parametrize("y", [np.linspace(0, 1e5, 40), np.arange(40) % 2 * 4], ids=["values", "labels with a gap"])
def test_a_run_of_a_version_that_learnt_such_targets_in_another_form_is_not_gone_on_with(tmp_path: Path, y: Array) -> None:
    np.savez(tmp_path / "mine.npz", x_train=y[:30, None], y_train=y[:30], x_test=y[30:, None], y_test=y[30:])
    folder = begun(tmp_path / "run", data=str(tmp_path / "mine.npz"))
    lines = (folder / "run.toml").read_text().splitlines()
    (folder / "run.toml").write_text("\n".join(line for line in lines if not line.startswith("task = ")))

    assert "in another form" in refusal(folder)
