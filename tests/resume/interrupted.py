"""Folders of runs that were interrupted, and what resuming one starts or refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import api, folders
from decoupled.checkpoint import Checkpoint, Store
from decoupled.config import CheckpointOptions, Run
from decoupled.errors import RunFailed, UsageError
from decoupled.identity import code_of
from decoupled.runtime.checkpoints import RunState
from decoupled.runtime.data_stream import Cursor
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import ResolvedRun, resolve

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
    folders.record_code(folder, code_of(run))
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


def damaged(folder: Path) -> str:
    path = folder / "checkpoints" / "0000000049" / "stage1.safetensors"
    path.write_bytes(b"")
    return str(path)
