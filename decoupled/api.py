"""What a script or a notebook calls: train a run, coordinate one by hand, resume one, use what was trained."""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from decoupled import data, folders, user_code
from decoupled.checkpoint import Checkpoint, Store
from decoupled.config import GIVEN, Fault, Run
from decoupled.data.arrays import first_sentence
from decoupled.data.dataset import Dataset
from decoupled.data.source import DataSource
from decoupled.errors import UsageError
from decoupled.folders import CHECKPOINTS, load_network, load_report, load_run, load_spans
from decoupled.launch.interface import Launcher
from decoupled.launch.local import here
from decoupled.launch.run_coordinator import Callbacks, run_coordinator
from decoupled.nn.network import Network
from decoupled.nn.parameters import Array
from decoupled.nn.scores import Score, Tally
from decoupled.nn.targets import REGRESSION
from decoupled.runtime.checkpoints import RunState
from decoupled.runtime.faults import beyond_the_end, not_struck
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.runtime.single import train_single
from decoupled.telemetry.metrics import Progress
from decoupled.telemetry.sinks import MetricsFile, MetricsRecorder
from decoupled.telemetry.trace import middle, trace_file

OnStart = Callable[[ResolvedRun], None]
OnProgress = Callable[[Progress], None]
OnWaiting = Callable[[str, int, int], None]
OnWarning = Callable[[str], None]
TakeFaults = Callable[[], Sequence[Fault]]  # asked many times a second; each fault strikes at once

# What may be another when a run is resumed: all that changes neither the network nor which batches come in which order.
CHANGEABLE: dict[str, Any] = {
    **dict.fromkeys(("epochs", "lr", "link", "emulation", "checkpoint", "supervision", "faults"), True),
    "runtime": {"threads", "report_every_s"},
    "dataset": {"directory"},
}

# What earlier versions had no setting for, as it was with them: their checkpoints do not name it.
NEWER = {"model": "mlp"}


def load_data(run: Run) -> DataSource:
    """The data that the run names. Raises UsageError when it is missing or malformed."""
    directory = Path(run.dataset.directory) if run.dataset.directory else None
    return data.load(run.data, directory, run.dataset.bits, run.task, run.args.data)


def warn(sentence: str) -> None:
    """What a script hears of where nobody else listens."""
    warnings.warn(sentence, RuntimeWarning, stacklevel=2)


def train(
    run: Run,
    out: str | Path | None = None,
    on_progress: OnProgress | None = None,
    launcher: Launcher = here,
    on_waiting: OnWaiting | None = None,
    on_warning: OnWarning = warn,
    take_faults: TakeFaults = tuple,
    *,
    on_start: OnStart | None = None,
) -> Report:
    """Trains a run and gives its report, with the trained network in it.

    With `out` the run is kept in that new folder: run.toml, metrics.jsonl, checkpoints, and at the end report.json,
    account.json, model.safetensors and spans.safetensors. The worker processes are started and ended here, unless the
    launcher is another: `launch.by_hand.by_hand` waits for workers that others start, `launch.on_ray.on_ray` has a Ray
    cluster run them. `on_start` hears what the run comes to, once its data is known. Raises UsageError for what the caller can
    mend and RunFailed when the run ended early: Diverged when its loss was no number any more.
    """
    user_code.refuse_while_loading()
    run = _found_from_anywhere(run)
    user_code.allow_all(run.code)  # the caller has named it
    resolved, callbacks = resolve(run, load_data(run)), _callbacks(on_progress, on_waiting, on_warning, take_faults)
    (on_start or _ignore)(resolved)
    if out is None:
        with tempfile.TemporaryDirectory(prefix="decoupled-run-") as passing:
            return _perform(Path(passing), resolved, None, callbacks, launcher)
    folder = folders.new_folder(Path(out))
    try:
        with folders.alone(folder):
            return _train_in(folder, resolved, None, callbacks, launcher)
    except BaseException:
        folders.remove_if_nothing_happened(folder)
        raise


def resume(
    folder: str | Path,
    run: Run | None = None,
    on_progress: OnProgress | None = None,
    launcher: Launcher = here,
    on_waiting: OnWaiting | None = None,
    on_warning: OnWarning = warn,
    take_faults: TakeFaults = tuple,
    *,
    data: str | Mapping[str, Any] | DataSource | None = None,
    on_start: OnStart | None = None,
) -> Report:
    """Goes on with the interrupted run in a folder, from its last complete checkpoint or else from the beginning.

    `run` may differ from the folder's own in how it is carried out (see CHANGEABLE), but not in what is trained. A folder
    does not hold arrays and sources that were given to `train`: give the same again as `data`, or in `run`. Raises UsageError
    when something differs, when the data have changed since, or when there is nothing to go on with.
    """
    folder, before = Path(folder), load_run(folder)
    if (folder / "report.json").exists():
        raise UsageError(f"{folder} holds a finished run, so there is nothing to resume.")
    if before.schedule == "single":
        raise UsageError(f"{folder} was trained by single, which keeps no checkpoints. Train it anew.")
    run = run or before.model_copy(update={"faults": ()})  # a plan is for the run it was given for
    run = _found_from_anywhere(run if data is None else run.model_copy(update={"data": data}))
    if run.data in GIVEN:
        raise UsageError(
            f"{folder} was trained on {run.data} that it does not hold. Go on in Python, with the same again:"
            f" decoupled.resume({str(folder)!r}, data=...)."
        )
    resolved = resolve(run, load_data(run))
    targets = resolved.dataset.targets
    if before.task is None and (targets.labels is not None or targets.task == REGRESSION):
        raise UsageError(f"{folder} was begun by a version that learnt such targets in another form. Train it anew.")
    _refuse_another(folder, before, resolved.run)
    folders.refuse_other_data(folder, resolved.dataset)
    with folders.alone(folder):
        checkpoint = store_of(folder, resolved.run, on_warning).latest()
        if checkpoint is None:
            on_warning(f"{folder} holds no checkpoint that can be used, so the run begins anew.")
        elif RunState.of(checkpoint).fed.position > resolved.feed.end_of_training:
            raise UsageError(f"{folder} was trained for longer than epochs={run.epochs} already. Resume it with more epochs.")
        (on_start or _ignore)(resolved)
        return _train_in(folder, resolved, checkpoint, _callbacks(on_progress, on_waiting, on_warning, take_faults), launcher)


def _found_from_anywhere(run: Run) -> Run:
    """The same run, with the whole paths of its data and of the user's code."""
    run = run.with_references(user_code.absolute)
    if isinstance(run.data, str) and run.data.endswith(".npz"):
        return run.model_copy(update={"data": str(Path(run.data).resolve())})
    return run


def _refuse_another(folder: Path, before: Run, now: Run) -> None:
    """Raises UsageError with the first difference that a checkpoint cannot bear."""
    then, there = _fixed(before), _fixed(now)
    for name in then:
        if then[name] != there.get(name):
            raise UsageError(
                f"{folder} was trained with {name} {then[name]}, not {there.get(name)}. Resume it as it was, or train anew."
            )


def _fixed(run: Run) -> dict[str, Any]:
    """What is trained, by dotted names."""
    free = CHANGEABLE | {"data": True, "task": True}  # data may be arrays, of any size; most tasks follow from the loss
    values = {"task": run.task} if run.task == REGRESSION else {}  # which were not standardised when there was no task
    whole = _flat({"data": run.data_name} | values | run.model_dump(mode="json", exclude=free))
    return {name: value for name, value in whole.items() if (name, value) not in NEWER.items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _callbacks(
    on_progress: OnProgress | None, on_waiting: OnWaiting | None, on_warning: OnWarning, take_faults: TakeFaults
) -> Callbacks:
    return Callbacks(on_progress or _ignore, on_waiting or _ignore, on_warning, take_faults)


def _ignore(*heard: object) -> None:
    """For a run that nobody watches."""


def _train_in(
    folder: Path, resolved: ResolvedRun, checkpoint: Checkpoint | None, callbacks: Callbacks, launcher: Launcher
) -> Report:
    """Trains in the run's folder, and keeps what it came to."""
    folders.begin(folder, resolved.run)
    folders.record_data(folder, resolved.dataset)
    with MetricsFile(folder / "metrics.jsonl", callbacks.warning) as metrics:
        recorder, last = MetricsRecorder(), list[Progress]()

        def tell(progress: Progress) -> None:
            if metrics.write(recorder.record(progress)):
                recorder.told(progress)
            last[:] = [progress]
            callbacks.progress(progress)

        whole = replace(callbacks, progress=tell)
        try:
            return folders.keep(_perform(folder, resolved, checkpoint, whole, launcher), folder)
        except BaseException as error:
            for progress in last:  # so that whoever watches knows
                metrics.write(recorder.record(progress.ended_by(error)))
            raise


def _perform(
    folder: Path, resolved: ResolvedRun, checkpoint: Checkpoint | None, callbacks: Callbacks, launcher: Launcher
) -> Report:
    run, warning = resolved.run, callbacks.warning
    if isinstance(resolved.dataset, Dataset):
        for doubt in resolved.dataset.doubts:
            warning(doubt)
    if run.schedule == "single":
        return train_single(resolved, callbacks.progress)
    vain = beyond_the_end(run.faults, resolved.feed)
    for fault in vain:
        warning(f"The fault {fault} will never strike: there are {resolved.feed.end_of_training:,} microbatches to train on.")
    workers = launcher(len(resolved.stages), run.runtime.threads, run.code)
    report = run_coordinator(resolved, store_of(folder, run, warning), checkpoint, callbacks, workers)
    for fault in not_struck([fault for fault in run.faults if fault not in vain], report.incidents):
        warning(f"The fault {fault} never struck: its worker was replaced, or the run resumed, behind its microbatch.")
    return report


def store_of(folder: Path, run: Run, on_warning: OnWarning) -> Store:
    """The checkpoints in a run's folder; those of a run that trains something else are refused."""
    trains = hashlib.sha256(json.dumps(_fixed(run), sort_keys=True).encode()).hexdigest()
    return Store(folder / CHECKPOINTS, run.checkpoint.keep, on_warning, trains)


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


def predict(folder: str | Path, source: str | Path, target: str | Path, proba: bool = False) -> Array:
    """Reads raw inputs from an .npy file, writes the network's answers to another, and gives them.

    With `proba` they are the probabilities of each class or bit. Raises UsageError for what the caller can mend.
    """
    if Path(target).suffix not in ("", ".npy"):
        raise UsageError(f"{target} cannot hold the answers, which are written as .npy.")
    network, inputs = load_network(folder), _inputs(source)
    try:
        answers = network.predict_proba(inputs) if proba else network.predict(inputs)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None
    try:
        with open(target, "wb") as file:
            np.save(file, answers, allow_pickle=False)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None
    return answers


def _inputs(source: str | Path) -> Array:
    """The array in an .npy file. Raises UsageError when it holds no samples of numbers."""
    try:
        inputs = np.load(source, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"There is no file {source}.") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise UsageError(f"{source} is not an .npy file of numbers: {first_sentence(error)}.") from None
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "buif" or inputs.ndim < 2:
        raise UsageError(f"{source} must hold numbers of shape (samples, features).")
    return inputs


@dataclass(frozen=True, slots=True)
class Evaluated(Score):
    """A network's score, and on how many samples."""

    samples: int = 0


def evaluate(folder: str | Path, data_source: str | Mapping[str, Any] | None = None) -> Evaluated:
    """The score of a run's network on its test set, or that of `data_source`. Raises UsageError when that does not fit it."""
    network = load_network(folder)
    run = load_run(folder).model_copy(update={"task": network.targets.task})
    if data_source is not None:
        run = run.model_copy(update={"data": data_source})
    elif run.data in GIVEN:
        raise UsageError(f"{folder} was trained on {run.data} that it does not hold. Give the data to evaluate on.")
    dataset = load_data(run)
    tally = Tally(network.targets.unit(dataset.outputs))
    try:
        for x, y in dataset.test_batches(Network.BATCH, 0):
            network.tally(tally, x, dataset.targets.restored(y))
    except ValueError as error:
        raise UsageError(f"{dataset.name} cannot be evaluated on: {error}") from None
    return Evaluated(**asdict(tally.score), samples=tally.samples)
