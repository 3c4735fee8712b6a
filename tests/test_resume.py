"""Going on with a run from Python: what is refused before any process starts, and what is gone on with."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import api, folders
from decoupled.checkpoint import Checkpoint, Store
from decoupled.config import CheckpointOptions, Run
from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Dataset
from decoupled.errors import RunFailed, UsageError
from decoupled.runtime.checkpoints import RunState
from decoupled.runtime.data_stream import Cursor
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.tensors import Array

# 1437 digits are 23 batches of 64, and the 360 of the test set 6
USUAL: dict[str, Any] = {"hidden": (8, 8), "epochs": 4}


def begun(folder: Path, *positions: int, **values: Any) -> Path:
    """The folder of a run that was interrupted after checkpoints at these positions in its feed."""
    run = Run(**USUAL | values)
    folder.mkdir()
    resolved = resolve(run, api.load_data(run))
    run = resolved.run
    folders.begin(folder, run)
    folders.record_data(folder, resolved.dataset)
    store = api.store_of(folder, run.model_copy(update={"checkpoint": CheckpointOptions(keep=9)}), pytest.fail)
    for position in positions:
        about = RunState(Cursor(position=position, number=position)).to_json()
        store.save(Checkpoint(position - 1, [{"a": np.zeros(1)}] * 3, [{}] * 3, about))
    store.finish()
    return folder


def refusal(folder: Path, run: Run | None = None, **more: Any) -> str:
    with pytest.raises(UsageError) as refused:
        api.resume(folder, run, **more)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


class Started:
    """What would have been carried out by worker processes."""

    def __init__(self) -> None:
        self.resolved: ResolvedRun | None = None
        self.checkpoint: Checkpoint | None = None

    def run_coordinator(self, resolved: ResolvedRun, store: Store, checkpoint: Checkpoint | None, *_: object) -> Report:
        self.resolved, self.checkpoint = resolved, checkpoint
        raise RunFailed("It was only to begin.")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    made = Started()
    monkeypatch.setattr(api, "run_coordinator", made.run_coordinator)
    return made


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == f"{tmp_path / 'no'} holds no run: there is no {tmp_path / 'no' / 'run.toml'}."


def test_a_finished_run_is_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", 50)
    (folder / "report.json").touch()

    assert refusal(folder) == f"{folder} holds a finished run, so there is nothing to resume."


def test_a_run_that_kept_nothing_to_go_on_with_is_refused(tmp_path: Path) -> None:
    single = begun(tmp_path / "single", schedule="single")

    assert refusal(single) == f"{single} was trained by single, which keeps no checkpoints. Train it anew."


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


@pytest.mark.parametrize("text", ["epochs = ", "epochs = 0", "colour = 3"])
def test_a_folder_whose_run_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.toml").write_text(text)

    assert refusal(tmp_path)


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"data": "addition"}, "data digits, not addition"),
        ({"hidden": (8, 9)}, "hidden [8, 8], not [8, 9]"),
        ({"schedule": "lockstep"}, "schedule dni, not lockstep"),
        ({"schedule": "single"}, "schedule dni, not single"),
        ({"head": "linear"}, "head readout, not linear"),
        ({"batch": 32}, "batch 64, not 32"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"workers": 2}, "workers None, not 2"),
        ({"network": {"dtype": "float64"}}, "network.dtype float32, not float64"),
        ({"optimiser": {"decay": "cosine"}}, "optimiser.decay linear, not cosine"),
        ({"dni": {"overflow": "latest"}}, "dni.overflow block, not latest"),
        ({"runtime": {"evaluate_every": 1}}, "runtime.evaluate_every 0, not 1"),
        ({"dataset": {"bits": 4}}, "dataset.bits 8, not 4"),
    ],
    ids=str,
)
def test_another_network_or_another_order_of_batches_is_refused(tmp_path: Path, values: dict[str, Any], difference: str) -> None:
    folder = begun(tmp_path / "run", 50)

    assert refusal(folder, Run(**USUAL | values)) == (
        f"{folder} was trained with {difference}. Resume it as it was, or train anew."
    )


def test_arrays_in_the_place_of_named_data_are_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", 50)

    assert "was trained with data digits, not arrays." in refusal(folder, Run(**USUAL, data=arrays()))


def test_fewer_epochs_than_were_trained_already_are_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", 2 * 23 + 1)

    expected = f"{folder} was trained for longer than epochs=2 already. Resume it with more epochs."
    assert refusal(folder, Run(**USUAL | {"epochs": 2})) == expected


@pytest.mark.parametrize("position", [2 * 23, 2 * 23 - 1])
def test_as_many_epochs_as_were_trained_already_are_taken(tmp_path: Path, started: Started, position: int) -> None:
    folder = begun(tmp_path / "run", position)

    with pytest.raises(RunFailed):
        api.resume(folder, Run(**USUAL | {"epochs": 2}))

    assert started.checkpoint is not None
    assert started.checkpoint.microbatch == position - 1


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 9},
        {"link": {"window": 3}},
        {"runtime": {"threads": 2, "report_every_s": 1}},
        {"dataset": {"directory": "/data"}},
        {"emulation": {"latency_ms": 5}},
        {"checkpoint": {"every": 3}},
        {"supervision": {"on_failure": "rollback"}},
        {"faults": [{"kind": "kill", "stage": 1}]},
    ],
    ids=str,
)
def test_how_a_run_is_carried_out_may_be_another(tmp_path: Path, started: Started, values: dict[str, Any]) -> None:
    folder, run = begun(tmp_path / "run", 40, 50), Run(**USUAL | values)

    with pytest.raises(RunFailed):
        api.resume(folder, run)

    assert started.resolved is not None
    assert all(getattr(started.resolved.run, name) == getattr(run, name) for name in values)
    assert started.checkpoint is not None
    assert started.checkpoint.microbatch == 49


def test_without_a_checkpoint_it_begins_anew(tmp_path: Path, started: Started) -> None:
    with pytest.raises(RunFailed), pytest.warns(RuntimeWarning, match="begins anew"):
        api.resume(begun(tmp_path / "run"))

    assert started.resolved is not None
    assert started.checkpoint is None


def test_data_in_a_file_is_the_same_by_whatever_path(tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.ones((60, 4)), np.arange(60) % 3
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    folder = begun(tmp_path / "run", data=str(tmp_path / "mine.npz"))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RunFailed), pytest.warns(RuntimeWarning, match="begins anew"):
        api.resume(folder, Run(**USUAL, data="mine.npz"))

    assert started.resolved is not None


def damaged(folder: Path) -> str:
    path = folder / "checkpoints" / "0000000049" / "stage1.safetensors"
    path.write_bytes(b"")
    return str(path)


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(tmp_path: Path, started: Started) -> None:
    folder, said = begun(tmp_path / "run", 40, 50), list[str]()
    path = damaged(folder)

    with pytest.raises(RunFailed):
        api.resume(folder, on_warning=said.append)

    assert [sentence.split(" ")[0] for sentence in said] == [path]
    assert started.checkpoint is not None
    assert started.checkpoint.microbatch == 39


def test_a_script_that_listens_to_nothing_is_warned_all_the_same(tmp_path: Path, started: Started) -> None:
    folder = begun(tmp_path / "run", 40, 50)
    path = damaged(folder)

    with pytest.warns(RuntimeWarning, match=path), pytest.raises(RunFailed):
        api.resume(folder)

    assert started.checkpoint is not None


@pytest.mark.parametrize("change", [lambda about: {}, lambda about: about | {"fed": 3}])
def test_a_checkpoint_that_does_not_say_how_the_run_stood_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    folder = begun(tmp_path / "run")
    store = api.store_of(folder, folders.load_run(folder), pytest.fail)
    store.save(Checkpoint(5, [{"a": np.zeros(1)}], [{}], change(RunState(Cursor()).to_json())))
    store.finish()

    assert refusal(folder).startswith("The checkpoint after microbatch 5 does not say how its run stood: ")


def test_a_run_that_was_interrupted_again_can_still_be_gone_on_with(tmp_path: Path, started: Started) -> None:
    folder = begun(tmp_path / "run", 50)
    before = sorted(folder.rglob("*"))

    for _ in range(2):
        with pytest.raises(RunFailed):
            api.resume(folder)

    assert started.checkpoint is not None
    (folder / "metrics.jsonl").unlink()
    assert sorted(folder.rglob("*")) == before


def test_checkpoints_of_the_version_before_tasks_and_models_are_gone_on_from(tmp_path: Path) -> None:
    """Which named what is trained without them, by this digest."""
    resolved = resolve(Run(hidden=(8, 8), epochs=4), api.load_data(Run()))
    digest = "d9667e07d65d098dff1fe3999d04c04628a2c550aa2af0e0a742e6d9e2bca056"
    earlier = Store(tmp_path / "checkpoints", 3, pytest.fail, digest)
    earlier.save(Checkpoint(22, [{"a": np.zeros(1)}] * 3, [{}] * 3, RunState(Cursor(position=23, number=23)).to_json()))
    earlier.finish()

    store = api.store_of(tmp_path, resolved.run, pytest.fail)
    found = store.latest()
    store.finish()

    assert found is not None
    assert found.microbatch == 22


@pytest.mark.parametrize("y", [np.linspace(0, 1e5, 40), np.arange(40) % 2 * 4], ids=["values", "labels with a gap"])
def test_a_run_of_a_version_that_learnt_such_targets_in_another_form_is_not_gone_on_with(tmp_path: Path, y: Array) -> None:
    np.savez(tmp_path / "mine.npz", x_train=y[:30, None], y_train=y[:30], x_test=y[30:, None], y_test=y[30:])
    folder = begun(tmp_path / "run", data=str(tmp_path / "mine.npz"))
    lines = (folder / "run.toml").read_text().splitlines()
    (folder / "run.toml").write_text("\n".join(line for line in lines if not line.startswith("task = ")))

    assert "in another form" in refusal(folder)
