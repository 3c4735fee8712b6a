"""Going on with a run from Python: what is refused before any process starts, and what is gone on with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import api, folders, user_code
from decoupled.checkpoint import Checkpoint, Store
from decoupled.config import Run
from decoupled.errors import RunFailed
from decoupled.runtime.checkpoints import RunState
from decoupled.runtime.data_stream import Cursor
from decoupled.runtime.resolve import resolve
from tests.resume.interrupted import USUAL, Started, begun, damaged, refusal


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == f"{tmp_path / 'no'} holds no run: there is no {tmp_path / 'no' / 'run.toml'}."


def test_a_finished_run_is_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", 50)
    (folder / "report.json").touch()

    assert refusal(folder) == f"{folder} holds a finished run, so there is nothing to resume."


def test_a_run_that_kept_nothing_to_go_on_with_is_refused(tmp_path: Path) -> None:
    single = begun(tmp_path / "single", schedule="single")

    assert refusal(single) == f"{single} was trained by single, which keeps no checkpoints. Train it anew."


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


def test_a_cut_that_was_measured_is_not_measured_anew(tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Path(__file__).parents[1] / "toy_model.py"
    user_code.allow(str(toy))
    run = Run(**{name: value for name, value in USUAL.items() if name != "hidden"} | {"model": f"{toy}:ToyModel", "workers": 2})
    folder = begun(tmp_path / "run", **run.model_dump())
    monkeypatch.setattr("decoupled.runtime.resolve.measure", lambda *_: pytest.fail("it would come out otherwise today"))

    with pytest.raises(RunFailed):
        api.resume(folder, run, on_warning=lambda sentence: None)

    assert started.resolved is not None
    assert started.resolved.stages == folders.load_run(folder).stages is not None
    assert "trained with workers 2, not 3" in refusal(
        folder, Run(**run.model_dump() | {"workers": 3, "stages": [[0], [1], [2, 3]]})
    )


def test_without_a_checkpoint_it_begins_anew(tmp_path: Path, started: Started) -> None:
    with pytest.raises(RunFailed), pytest.warns(RuntimeWarning, match="begins anew"):
        api.resume(begun(tmp_path / "run"))

    assert started.resolved is not None
    assert started.checkpoint is None


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
