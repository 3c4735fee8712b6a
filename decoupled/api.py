"""What a script or a notebook calls: train a run, coordinate one by hand, load and use what was trained."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from decoupled import checkpoint, data
from decoupled.config import Run, from_toml, to_toml
from decoupled.data.arrays import first_sentence
from decoupled.data.dataset import Dataset
from decoupled.errors import UsageError
from decoupled.launch.conduct import conduct
from decoupled.nn.network import Architecture, Network
from decoupled.nn.parameters import Array
from decoupled.runtime.blueprint import Blueprint, draw, suits
from decoupled.runtime.report import JSON_FIELDS, Report
from decoupled.runtime.single import train_single
from decoupled.telemetry.board import Progress
from decoupled.telemetry.sinks import MetricsFile, record
from decoupled.telemetry.spans import COLUMNS, Rows
from decoupled.telemetry.trace import middle, trace_file
from decoupled.transport.keys import Keys, of_coordinator

OnProgress = Callable[[Progress], None]
OnWaiting = Callable[[str, int, int], None]


def load_data(run: Run) -> Dataset:
    """The dataset that the run names. Raises UsageError when it is missing or malformed."""
    directory = Path(run.dataset.directory) if run.dataset.directory else None
    return data.load(run.data, directory, run.dataset.bits)


def train(
    run: Run,
    out: str | Path | None = None,
    on_progress: OnProgress | None = None,
    address: str | None = None,
    on_waiting: OnWaiting | None = None,
    keys: str | Path | None = None,
) -> Report:
    """Trains a run and gives its report, with the trained network in it.

    With `out` the run is kept in that new folder: run.toml, metrics.jsonl, report.json, model.safetensors
    and spans.safetensors. The worker
    processes are started and ended here; with `address` the run waits there for workers started by hand instead, with `keys`,
    the coordinator's folder of them, only for known ones.
    Raises UsageError for what the caller can mend and RunFailed when the run ended early.
    """
    if isinstance(run.data, str) and run.data.endswith(".npz"):
        run = run.model_copy(update={"data": str(Path(run.data).resolve())})  # so that the run is found from anywhere
    own = of_coordinator(Path(keys)) if keys is not None else None
    blueprint = draw(run, load_data(run))
    if out is None:
        return _perform(blueprint, on_progress or _ignore, address, on_waiting, own)
    folder = new_folder(Path(out))
    (folder / "run.toml").write_text(to_toml(blueprint.run), encoding="utf-8")
    try:
        with MetricsFile(folder / "metrics.jsonl") as metrics:

            def tell(progress: Progress) -> None:
                metrics.write(record(progress))
                (on_progress or _ignore)(progress)

            report = _perform(blueprint, tell, address, on_waiting, own)
    except BaseException:
        _remove_if_nothing_happened(folder)
        raise
    return _keep(report, folder)


def _ignore(progress: Progress) -> None:
    """For a run that nobody watches."""


def _remove_if_nothing_happened(folder: Path) -> None:
    """Takes back the folder of a run that ended before it began, so that the same command can be given again."""
    if not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").stat().st_size:
        for name in ("run.toml", "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _perform(
    blueprint: Blueprint, tell: OnProgress, address: str | None, on_waiting: OnWaiting | None, keys: Keys | None
) -> Report:
    if blueprint.run.schedule == "single":
        return train_single(blueprint, tell)
    return conduct(blueprint, tell, address, on_waiting or (lambda where, joined, wanted: None), keys)


def new_folder(folder: Path) -> Path:
    """Makes the folder. Raises UsageError when it holds something or cannot be made."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} already holds something. Choose another folder for the run, or remove this one.")
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


def _keep(report: Report, folder: Path) -> Report:
    """Writes what the run came to; the report is the last file, so its presence says that the run is whole."""
    about = {"architecture": asdict(report.network.architecture)}
    checkpoint.save_arrays(folder / "model.safetensors", report.network.arrays, about)
    spans = {f"stage{stage}": rows for stage, rows in enumerate(report.spans)}
    checkpoint.save_arrays(folder / "spans.safetensors", spans, {"schedule": report.schedule})
    checkpoint.write_whole(folder / "report.json", (json.dumps(report.to_json(), indent=2) + "\n").encode())
    return report.within(folder)


def load_network(folder: str | Path) -> Network:
    """The network that a run trained. Raises UsageError when the folder holds none."""
    path = Path(folder) / "model.safetensors"
    arrays, about = checkpoint.load_arrays(path)
    try:
        architecture: dict[str, Any] = dict(about["architecture"])
        return Network(Architecture(**architecture | {"widths": tuple(architecture["widths"])}), arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{path} is not a model that decoupled wrote: {error}") from None


def load_report(folder: str | Path) -> dict[str, Any]:
    """What a run's report.json holds. Raises UsageError when the folder holds no finished run."""
    path = Path(folder) / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no finished run: there is no {path}.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    if not isinstance(report, dict) or not set(JSON_FIELDS) <= report.keys():
        raise UsageError(f"{path} is not the report of a run.")
    return report


def load_spans(folder: str | Path) -> tuple[Rows, ...]:
    """What each worker of a run did when (see decoupled.telemetry.spans). Raises UsageError when the folder does not say."""
    arrays, _ = checkpoint.load_arrays(Path(folder) / "spans.safetensors")
    names = [f"stage{stage}" for stage in range(len(arrays))]
    if arrays.keys() != set(names) or any(rows.ndim != 2 or rows.shape[1] != len(COLUMNS) for rows in arrays.values()):
        raise UsageError(f"{folder} holds spans.safetensors, but not one that decoupled wrote.")
    return tuple(arrays[name] for name in names)


def trace(folders: Sequence[str | Path], target: str | Path, seconds: float = 5.0) -> int:
    """Writes the timelines of finished runs, one below the other, for chrome://tracing or ui.perfetto.dev.

    Only a stretch of so many seconds from the middle of each is written. Gives the number of events. Raises UsageError when a
    folder holds no finished run or the file cannot be written.
    """
    runs = []
    for folder in folders:
        report, spans = load_report(folder), load_spans(folder)
        runs.append((report["schedule"], middle(spans, seconds), [worker["layers"] for worker in report["workers_detail"]]))
    whole = trace_file(runs)
    try:
        Path(target).write_text(json.dumps(whole), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None
    return len(whole["traceEvents"])


def predict(folder: str | Path, source: str | Path, target: str | Path) -> Array:
    """Reads raw inputs from an .npy file, writes the network's answers to another, and gives them."""
    network = load_network(folder)
    try:
        inputs = np.load(source, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"There is no file {source}.") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise UsageError(f"{source} is not an .npy file of numbers: {first_sentence(error)}.") from None
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "buif" or inputs.ndim < 2:
        raise UsageError(f"{source} must hold numbers of shape (samples, features).")
    try:
        answers = network.predict(inputs)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None
    try:
        with open(target, "wb") as file:
            np.save(file, answers)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None
    return answers


def evaluate(folder: str | Path, data_source: str | Mapping[str, Any] | None = None) -> tuple[float, float | None, int]:
    """Mean loss, accuracy (or None) and number of samples of a run's network on its test set, or that of `data_source`."""
    network = load_network(folder)
    run = Run(**from_toml(Path(folder) / "run.toml"))
    if data_source is not None:
        run = run.model_copy(update={"data": data_source})
    elif run.data == "arrays":
        raise UsageError(f"{folder} was trained on arrays that it does not hold. Give the data to evaluate on.")
    dataset = load_data(run)
    suits(network.architecture.loss, dataset)
    inputs, outputs = network.architecture.widths[0], network.architecture.widths[-1]
    if (dataset.inputs, dataset.outputs) != (inputs, outputs):
        there = f"{dataset.name} has {dataset.inputs} inputs and {dataset.outputs} outputs"
        raise UsageError(f"{there}, but the network has {inputs} and {outputs}.")
    loss, accuracy = network.evaluate(dataset.x_test, dataset.y_test)
    return loss, accuracy, len(dataset.x_test)
