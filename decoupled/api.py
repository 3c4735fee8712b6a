"""What a script or a notebook calls: plan a run, train it, coordinate one by hand, resume one."""

import inspect
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from decoupled import data, folders, user_code
from decoupled.checkpoint import Checkpoint, Store
from decoupled.config import GIVEN, Fault, Run
from decoupled.data.dataset import Dataset
from decoupled.data.source import DataSource
from decoupled.errors import UsageError
from decoupled.folders import CHECKPOINTS, load_run
from decoupled.identity import code_of, digest, refuse_another
from decoupled.launch.interface import Launcher
from decoupled.launch.local import here
from decoupled.launch.run_coordinator import Callbacks, ignore, run_coordinator
from decoupled.nn.targets import REGRESSION
from decoupled.runtime.checkpoints import RunState
from decoupled.runtime.faults import beyond_the_end, not_struck
from decoupled.runtime.plan import Plan, plan_of
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.runtime.single import train_single
from decoupled.telemetry.metrics import Progress
from decoupled.telemetry.sinks import MetricsFile, MetricsRecorder

OnStart = Callable[[ResolvedRun], None]
OnProgress = Callable[[Progress], None]
OnWaiting = Callable[[str, int, int], None]
OnWarning = Callable[[str], None]
TakeFaults = Callable[[], Sequence[Fault]]  # asked many times a second; each fault strikes at once


def load_data(run: Run) -> DataSource:
    """The data that the run names. Raises UsageError when it is missing or malformed."""
    directory = Path(run.dataset.directory) if run.dataset.directory else None
    return data.load(run.data, directory, run.dataset.bits, run.task, run.args.data, run.dataset.augment)


def warn(sentence: str) -> None:
    """What a script hears of where nobody else listens: a warning at the script's own line."""
    own = str(Path(__file__).parent) + os.sep
    depth = next((at for at, frame in enumerate(inspect.stack(0)) if not frame.filename.startswith(own)), 1)
    warnings.warn(sentence, RuntimeWarning, stacklevel=depth + 1)


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
    (on_start or ignore)(resolved)
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


def plan(run: Run) -> Plan:
    """What the run's model is made of, what its layers and heads cost here, and how it is cut; nothing is trained.

    Raises UsageError for what `train` would refuse.
    """
    run = _found_from_anywhere(run)
    user_code.allow_all(run.code)
    return plan_of(resolve(run, load_data(run)))


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

    `run` may differ from the folder's own in how it is carried out (see `identity.CHANGEABLE`), but not in what is trained. A
    folder does not hold arrays and sources that were given to `train`: give the same again as `data`, or in `run`. Raises
    UsageError when something differs, when data or code have changed since, or when there is nothing to go on with.
    """
    folder, before = Path(folder), load_run(folder)
    if (folder / "report.json").exists():
        raise UsageError(f"{folder} holds a finished run, so there is nothing to resume.")
    if before.schedule == "single":
        raise UsageError(f"{folder} was trained by single, which keeps no checkpoints. Train it anew.")
    run = run or before.model_copy(update={"faults": ()})  # a plan is for the run it was given for
    if run.stages is None and run.workers == before.workers:  # measured times would be others today
        run = run.model_copy(update={"stages": before.stages})
    run = _found_from_anywhere(run if data is None else run.model_copy(update={"data": data}))
    here = folders.code_here(folder)
    before, run = before.with_references(here), run.with_references(here)
    if run.data in GIVEN:
        raise UsageError(
            f"{folder} was trained on {run.data} that it does not hold. Go on in Python, with the same again:"
            f" decoupled.resume({str(folder)!r}, data=...)."
        )
    resolved = resolve(run, load_data(run))
    targets = resolved.dataset.targets
    if before.task is None and (targets.labels is not None or targets.task == REGRESSION):
        raise UsageError(f"{folder} was begun by a version that learnt such targets in another form. Train it anew.")
    refuse_another(folder, before, resolved.run)
    folders.refuse_other_data(folder, resolved.dataset)
    with folders.alone(folder):
        checkpoint = store_of(folder, resolved.run, on_warning).latest()
        if checkpoint is None:
            on_warning(f"{folder} holds no checkpoint that can be used, so the run begins anew.")
        elif RunState.of(checkpoint).fed.position > resolved.feed.end_of_training:
            raise UsageError(f"{folder} was trained for longer than epochs={run.epochs} already. Resume it with more epochs.")
        (on_start or ignore)(resolved)
        return _train_in(folder, resolved, checkpoint, _callbacks(on_progress, on_waiting, on_warning, take_faults), launcher)


def _found_from_anywhere(run: Run) -> Run:
    """The same run, with the whole paths of its data and of the user's code."""
    run = run.with_references(user_code.absolute)
    return run.model_copy(update={"data": data.found_from_anywhere(run.data)}) if isinstance(run.data, str) else run


def _callbacks(
    on_progress: OnProgress | None, on_waiting: OnWaiting | None, on_warning: OnWarning, take_faults: TakeFaults
) -> Callbacks:
    return Callbacks(on_progress or ignore, on_waiting or ignore, on_warning, take_faults)


def _train_in(
    folder: Path, resolved: ResolvedRun, checkpoint: Checkpoint | None, callbacks: Callbacks, launcher: Launcher
) -> Report:
    """Trains in the run's folder, and keeps what it came to."""
    folders.begin(folder, resolved.run)
    folders.record_data(folder, resolved.dataset)
    folders.record_code(folder, code_of(resolved.run))
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
    return Store(folder / CHECKPOINTS, run.checkpoint.keep, on_warning, digest(run))
