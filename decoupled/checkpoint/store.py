"""The store: a run's checkpoints on disk, the newest few of them.

A checkpoint is a folder with one file for each stage and a manifest, which comes last: a folder without one was never
finished. The manifest has every file's size and hash, and its own, so damage is noticed before anything is used. What is
there is never written over: a run that was taken back and gets to the same microbatch again has another folder for it.
"""

import hashlib
import math
import os
import re
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from decoupled.checkpoint.files import load_arrays, pack_arrays, write_whole
from decoupled.errors import Diverged, UsageError
from decoupled.tensors import FLOATS

T = TypeVar("T")
MANIFEST = "manifest.json"
_NAME = re.compile(r"([0-9]{10,})(?:-([0-9]+))?")  # of a folder: the microbatch, and how often it was there before


class StageState(NamedTuple):
    """A stage's part of a checkpoint: its arrays, and what is to be known about them."""

    arrays: dict[str, NDArray[Any]]
    about: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A run as it was after `microbatch`: each stage's arrays and what is to be known about them, and about the whole."""

    microbatch: int
    arrays: list[dict[str, NDArray[Any]]]
    about_stages: list[dict[str, Any]]
    about: dict[str, Any]

    def stage(self, stage: int) -> StageState:
        """One stage's part."""
        return StageState(self.arrays[stage], self.about_stages[stage])


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    bytes: int
    sha256: str


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="constants")  # a loss may be NaN
    format: Literal[1]
    microbatch: int
    trains: str  # what is trained: the same for all checkpoints that can take one another's place
    files: list[_File]  # of the stages, in order
    about: dict[str, Any]
    sha256: str = ""  # of all the others

    def digest(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()


class Store:
    """Writes and reads checkpoints in a thread of its own, one after another, so that nobody waits for the disk."""

    def __init__(self, folder: Path, keep: int, warn: Callable[[str], None], trains: str = "") -> None:
        """Keeps the newest `keep` in the folder; `warn` hears sentences about what cannot be written or used.

        `trains` says what is trained; checkpoints in which it says something else are refused.
        """
        self._folder, self._keep, self._warn, self._trains = folder, keep, warn, trains
        self._thread = _thread()
        self._jobs: set[Future[Any]] = set()  # under way, or waiting for the thread
        self._warnings: deque[str] = deque()  # by the thread, for `warn`
        self.last_saved: int | None = None  # the microbatch of the last one that is on disk

    @property
    def is_busy(self) -> bool:
        """A checkpoint is being written or read."""
        return bool(self._jobs)

    def save(self, checkpoint: Checkpoint) -> None:
        """Begins to write a checkpoint. The arrays must not change any more."""
        self._begin(lambda: self._save(checkpoint))

    def load(self) -> "Future[Checkpoint | None]":
        """Begins to read the newest checkpoint that is complete and sound, if any, after those that are being written."""
        return self._begin(lambda: self._newest(_whole))

    def load_stage(self, stage: int, up_to: int) -> "Future[StageState | None]":
        """Begins to read one stage's part of the newest checkpoint up to a microbatch; no other part is looked at.

        A resumed run can stand before the newest one, when another stage's part of that was damaged.
        """
        return self._begin(lambda: self._newest(lambda folder, manifest: _read(folder, stage, manifest.files[stage]), up_to))

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is complete and sound, if any. Waits for it."""
        found = self.load()
        self.finish()
        return found.result()

    def finish(self) -> None:
        """Waits until nothing is being written or read, and ends the thread until there is more."""
        self._thread.shutdown()
        self._thread = _thread()
        self.pass_on_warnings()

    def pass_on_warnings(self) -> None:
        """Says what there is to say about checkpoints that could not be written or used, in the thread that asks."""
        while self._warnings:
            self._warn(self._warnings.popleft())

    def _begin(self, job: Callable[[], T]) -> "Future[T]":
        future = self._thread.submit(job)
        self._jobs.add(future)
        future.add_done_callback(self._jobs.discard)  # what it has read is large, and its reader's alone
        return future

    def _save(self, checkpoint: Checkpoint) -> None:
        """Whatever goes wrong costs the checkpoint and is said; the thread goes on."""
        folder = self._place(checkpoint.microbatch)
        try:
            self._write(folder, checkpoint)
        except Exception as error:  # a full disk, too little memory, an array that cannot be written
            shutil.rmtree(folder, ignore_errors=True)
            self._warnings.append(f"The checkpoint {folder} could not be written: {_reason(error)}. Training goes on without it.")
            return
        self.last_saved = checkpoint.microbatch
        try:
            self._prune(folder)
        except OSError as error:
            self._warnings.append(f"The checkpoints before {folder} could not be removed: {_reason(error)}.")

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        folder.mkdir(parents=True)
        files = [_write_stage(folder, stage, checkpoint.stage(stage)) for stage in range(len(checkpoint.arrays))]
        _sync(folder)
        manifest = _Manifest(format=1, microbatch=checkpoint.microbatch, trains=self._trains, files=files, about=checkpoint.about)
        manifest.sha256 = manifest.digest()
        write_whole(folder / MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())
        _sync(folder)
        _sync(self._folder)

    def _place(self, microbatch: int) -> Path:
        """A folder that is not there yet."""
        name = f"{microbatch:010d}"
        names = (f"{name}-{before}" if before else name for before in count())
        return next(folder for folder in map(self._folder.joinpath, names) if not os.path.lexists(folder))

    def _prune(self, newest: Path) -> None:
        """Removes what is older than the newest few, finished or not. What a run was taken back from does not count."""
        folders = [folder for folder in self._folders() if _age(folder) <= _age(newest)]
        finished = [folder for folder in folders if (folder / MANIFEST).exists()]
        if len(finished) >= self._keep:
            for folder in folders[: folders.index(finished[-self._keep])]:
                shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        """Those of all checkpoints, the oldest first."""
        return sorted((path for path in self._folder.glob("*") if _NAME.fullmatch(path.name) and path.is_dir()), key=_age)

    def _newest(self, read: "Callable[[Path, _Manifest], T]", up_to: float = math.inf) -> T | None:
        for folder in reversed([folder for folder in self._folders() if _age(folder)[0] <= up_to]):
            try:
                return read(folder, _manifest(folder, self._trains))
            except UsageError as error:
                self._warnings.append(f"{error} The checkpoint before it is used instead, if there is one.")
        return None


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "checkpoint")


def _write_stage(folder: Path, stage: int, state: StageState) -> _File:
    if not _are_numbers(state):  # those before are better, and must not be removed for it
        raise Diverged("the run has diverged, and its weights are no numbers any more")
    content = pack_arrays(*state)
    write_whole(folder / _name(stage), content)
    return _File(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _manifest(folder: Path, trains: str) -> _Manifest:
    """A checkpoint's manifest. Raises UsageError, naming the file, when it is not as it was written for this run."""
    path = folder / MANIFEST
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path} is not there, so the checkpoint was never finished.") from None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a manifest that decoupled wrote"
        raise UsageError(f"{path} cannot be used: {reason}.") from None
    if manifest.sha256 != manifest.digest():
        raise UsageError(f"{path} is damaged: its content does not fit its checksum.")
    if manifest.trains != trains:
        raise UsageError(f"{path} cannot be used: it is of a run that trains something else.")
    if manifest.microbatch != _age(folder)[0]:
        raise UsageError(f"{path} cannot be used: it is that of a checkpoint after microbatch {manifest.microbatch}.")
    return manifest


def _whole(folder: Path, manifest: _Manifest) -> Checkpoint:
    states = [_read(folder, stage, file) for stage, file in enumerate(manifest.files)]
    return Checkpoint(manifest.microbatch, [state.arrays for state in states], [state.about for state in states], manifest.about)


def _read(folder: Path, stage: int, file: _File) -> StageState:
    """A stage's part. Raises UsageError, naming the file, when it is not as it was written."""
    path = folder / _name(stage)
    try:
        if path.stat().st_size != file.bytes:
            raise UsageError(f"{path} has {path.stat().st_size:,} bytes and should have {file.bytes:,}.")
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if found != file.sha256:
        raise UsageError(f"{path} is damaged: its content does not fit its checksum.")
    state = StageState(*load_arrays(path))
    if not _are_numbers(state):
        raise UsageError(f"{path} cannot be used: the run had diverged, and its weights are no numbers.")
    return state


def _are_numbers(state: StageState) -> bool:
    """Whether no array holds infinities or what is no number: nothing can be trained from there."""
    return all(np.isfinite(array).all() for array in state.arrays.values() if array.dtype.name in FLOATS)


def _age(folder: Path) -> tuple[int, int]:
    """The microbatch of a checkpoint's folder, and how many folders it had before."""
    microbatch, before = _NAME.fullmatch(folder.name).groups()  # type: ignore[union-attr]
    return int(microbatch), int(before or 0)


def _name(stage: int) -> str:
    return f"stage{stage}.safetensors"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Diverged):
        return str(error)
    return "no memory left" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"


def _sync(folder: Path) -> None:
    """Has the names in the folder on disk as well."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
