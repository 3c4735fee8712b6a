"""The folder of a run: what is written into it, and what is read from it, with suspicion."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from decoupled import checkpoint, user_code
from decoupled.config import Run, from_toml, to_toml
from decoupled.data.source import DataSource
from decoupled.errors import RunFailed, UsageError
from decoupled.nn.catalogue import BACKENDS
from decoupled.nn.model import AnsweringModel
from decoupled.nn.network import Architecture, Network
from decoupled.nn.recipe import Recipe
from decoupled.nn.targets import Targets
from decoupled.runtime.report import ADDED, JSON_FIELDS, Report
from decoupled.telemetry.spans import COLUMNS, Rows
from decoupled.tensors import Array

CHECKPOINTS = "checkpoints"
RECORD_BYTES_MAX = 1 << 20  # of the last line of metrics.jsonl


def refuse_used(folder: Path) -> None:
    """Raises UsageError when there is something where a new folder is to be."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} already holds something. Choose another folder for the run, or remove this one.")


def new_folder(folder: Path) -> Path:
    """Makes the folder. Raises UsageError when it holds something or cannot be made."""
    refuse_used(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}. Choose another folder for the run.") from None
    return folder


def fresh_folder(run: Run, what: str) -> Path:
    """A folder of its own for a run, or a benchmark, that was given none."""
    name = Path(run.data_name).stem
    folder = Path("runs") / f"{name}-{what}-{time.strftime('%Y%m%d-%H%M%S')}"
    return folder if not folder.exists() else folder.with_name(f"{folder.name}-{os.getpid()}")


def begin(folder: Path, run: Run) -> None:
    """Writes what the run is, in place of what it was. Raises UsageError when that cannot be."""
    try:
        checkpoint.write_whole(folder / "run.toml", to_toml(run).encode())
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}. Make room, or choose another folder.") from None


def record_data(folder: Path, data: DataSource) -> None:
    """Writes down which data the run is trained on, and the labels of their classes, such as the characters of a text.

    Raises UsageError when that cannot be.
    """
    try:
        labels = data.targets.labels
        about = {"fingerprint": data.fingerprint, "labels": None if labels is None else labels.tolist()}
        checkpoint.write_whole(folder / "data.json", (json.dumps(about, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}. Make room, or choose another folder.") from None


def record_code(folder: Path, code: Mapping[str, str]) -> None:
    """Writes down the sha256 of each file of the user's that decides what is trained. Raises UsageError when that cannot be."""
    if not code:
        return
    try:
        checkpoint.write_whole(folder / "code.json", (json.dumps(code, indent=2) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}. Make room, or choose another folder.") from None


def code_here(folder: str | Path) -> Callable[[str], str]:
    """Finds the references of a folder's run in this process, which may have the same files elsewhere.

    Those that were not written down, and those whose code was not named here, stay as they are. Raises UsageError, as does what
    it gives, where a file has changed since.
    """
    path = Path(folder) / "code.json"
    try:
        code = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:  # a folder of a run without such code, or of a version that did not write it
        code = {}
    except (OSError, ValueError, RecursionError):
        code = None
    if not isinstance(code, dict):
        raise UsageError(f"{path} cannot be read. Remove it if the code is still the same.")

    def here(reference: str) -> str:
        where = user_code.split(reference)[0]
        found = user_code.own(reference, code[where]) if where in code else reference
        if found is None and user_code.has_namesake(reference):
            name = Path(where).name
            raise UsageError(f"{name} has changed since {folder} was trained with it. Put back what it was, or train anew.")
        return found or reference

    return here


def refuse_other_data(folder: Path, data: DataSource) -> None:
    """Raises UsageError unless these are the data that the folder's run was trained on, as far as the folder says."""
    try:
        before = json.loads((folder / "data.json").read_text(encoding="utf-8"))["fingerprint"]
    except FileNotFoundError:  # a folder of a version that did not write it
        return
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(f"{folder / 'data.json'} cannot be read. Remove it if the data are still the same.") from None
    if before != data.fingerprint:
        raise UsageError(
            f"The data {data.name} have changed since {folder} was trained on them. Put back what they were, or train anew."
        )


def remove_if_nothing_happened(folder: Path) -> None:
    """Takes back the folder of a run that ended before it began, so that the same command can be given again."""
    began = (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size
    if began or (folder / CHECKPOINTS).exists():
        return
    with suppress(OSError):  # which must not hide why the run ended
        for name in ("run.toml", "data.json", "code.json", "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes of this host from training in the folder. Raises UsageError when one does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # file systems without locks, where care has to do
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{folder} is being trained by another process. Wait for its end, or stop it.") from None
        yield
    finally:
        os.close(handle)


class NotKept(RunFailed):
    """A run was finished, and its folder cannot hold what it came to, such as on a full disk; `report` has it all."""

    def __init__(self, report: Report, folder: Path, reason: str) -> None:
        kept = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        can_go_on = any(folder.glob(f"{CHECKPOINTS}/*/manifest.json"))
        rest = f"decoupled train --resume {folder} does the rest" if can_go_on else "train it anew"
        super().__init__(
            f"The run is finished, but {folder} cannot be written: {reason}. It holds {kept}. Make room; then {rest}."
        )
        self.report = report


def keep(report: Report, folder: Path) -> Report:
    """Writes what the run came to; the report is the last file, so its presence says that the run is whole.

    Raises NotKept when that cannot be.
    """
    try:
        _write(report, folder)
    except OSError as error:
        raise NotKept(report, folder, error.strerror or str(error)) from error
    return report.within(folder)


def _write(report: Report, folder: Path) -> None:
    checkpoint.save_arrays(folder / "model.safetensors", report.network.arrays, report.network.about)
    spans = {f"stage{stage}": rows for stage, rows in enumerate(report.spans)}
    checkpoint.save_arrays(folder / "spans.safetensors", spans, {"schedule": report.schedule})
    account = json.dumps(report.account.to_json()) + "\n"
    checkpoint.write_whole(folder / "account.json", account.encode())
    checkpoint.write_whole(folder / "report.json", (json.dumps(report.to_json(), indent=2) + "\n").encode())


def as_it_was(folder: str | Path) -> dict[str, Any]:
    """The values of the run that a folder was made for, unchecked. Raises UsageError when it says none."""
    path = Path(folder) / "run.toml"
    if not path.exists():
        raise UsageError(f"{folder} holds no run: there is no {path}.")
    return from_toml(path)


def load_run(folder: str | Path) -> Run:
    """The run that a folder was made for. Raises UsageError when it says none."""
    values = as_it_was(folder)
    try:
        return Run(**values)
    except UsageError as error:
        raise UsageError(f"{Path(folder) / 'run.toml'} is not that of a run of this version: {error}") from None


def load_network(folder: str | Path, code: Iterable[str] = ()) -> AnsweringModel:
    """The network that a run trained. `code` are files and modules of the user's that may be run for it.

    Raises UsageError when the folder holds none, or the network needs code that was not named, or has changed since.
    """
    user_code.allow_all(code)
    path = Path(folder) / "model.safetensors"
    if not path.exists() and (Path(folder) / "run.toml").exists():
        raise UsageError(f"{folder} holds no finished run. {_way_on(Path(folder))}")
    arrays, about = checkpoint.load_arrays(path)
    if not about.keys() & {"architecture", "pytorch"} and "model" in about:
        raise UsageError(f"{path} holds the arrays of {about['model']}, a model of your own, which only its own code can use.")
    here, kind = code_here(folder), "pytorch" if "pytorch" in about else "architecture"
    try:
        about |= {kind: _found(about[kind], here)}
        return _of_torch(arrays, about) if kind == "pytorch" else _dense(arrays, about)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{path} is not a model that decoupled wrote: {error}") from None


def _found(values: Mapping[str, Any], here: Callable[[str], str]) -> dict[str, Any]:
    """The same with the user's code as it is in this process."""

    def found(value: Any) -> Any:
        return here(value) if isinstance(value, str) and user_code.is_reference(value) else value

    return {name: found(value) for name, value in dict(values).items()}


def _dense(arrays: dict[str, Array], about: dict[str, Any]) -> Network:
    architecture: dict[str, Any] = dict(about["architecture"])
    targets = Targets.from_json(about["targets"]) if "targets" in about else None
    return Network(Architecture(**architecture | {"widths": tuple(architecture["widths"])}), arrays, targets)


def _of_torch(arrays: dict[str, Array], about: dict[str, Any]) -> AnsweringModel:
    recipe = Recipe.from_json(about["pytorch"])
    units = {name: np.array(values, np.float64) for name, values in dict(about["units"]).items()}
    targets = Targets.from_json(about["targets"]).with_scale(units)
    network: AnsweringModel = BACKENDS["pytorch"](recipe, arrays, targets)
    return network


def _way_on(folder: Path) -> str:
    """What can be done with a run that was not finished."""
    can_go_on, has_diverged = as_it_was(folder).get("schedule") != "single", _has_diverged(folder)
    if has_diverged and can_go_on:
        return f"It diverged: go on with a lower lr (decoupled train --resume {folder} --lr ...), or train it anew with one."
    if has_diverged:
        return "It diverged: train it anew, with a lower lr."
    return f"Go on with it: decoupled train --resume {folder}" if can_go_on else "Train it anew: single keeps no checkpoints."


def _has_diverged(folder: Path) -> bool:
    """Whether the run's last record says that it ended so; what cannot be read does not."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - RECORD_BYTES_MAX, 0))
            incident = json.loads(file.read().splitlines()[-1])["incidents"][-1]
        return incident["what"] == "interrupted" and "diverged" in incident["detail"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return False


def load_report(folder: str | Path) -> dict[str, Any]:
    """What a run's report.json holds. Raises UsageError when the folder holds no finished run."""
    path = Path(folder) / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no finished run: there is no {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    if not isinstance(report, dict) or not set(JSON_FIELDS) <= ADDED.keys() | report.keys():
        raise UsageError(f"{path} is not the report of a run.")
    return ADDED | report


def load_spans(folder: str | Path) -> tuple[Rows, ...]:
    """What each worker of a run did when (see decoupled.telemetry.spans). Raises UsageError when the folder does not say."""
    arrays, _ = checkpoint.load_arrays(Path(folder) / "spans.safetensors")
    names = [f"stage{stage}" for stage in range(len(arrays))]
    if arrays.keys() != set(names) or any(rows.ndim != 2 or rows.shape[1] != len(COLUMNS) for rows in arrays.values()):
        raise UsageError(f"{folder} holds spans.safetensors, but not one that decoupled wrote.")
    return tuple(arrays[name] for name in names)
