"""Commands that train: on this machine, by hand over several processes or hosts, and the keys for that."""

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from decoupled import api, folders
from decoupled.cli.app import JsonFile, Out, Resume, can_be_written, command, keys, write_json
from decoupled.cli.options import ADDRESS, Code, Host, Insecure, KeysFolder, takes, takes_run
from decoupled.cli.watch_options import NOBODY, WatchOptions, watch_options
from decoupled.config import Run
from decoupled.console import Display, say, summary
from decoupled.errors import UsageError
from decoupled.launch.by_hand import by_hand
from decoupled.launch.interface import Launcher
from decoupled.launch.local import here
from decoupled.launch.on_ray import on_ray
from decoupled.launch.worker_process import end_with_stdin, work
from decoupled.telemetry.metrics import Progress
from decoupled.transport.address import listening
from decoupled.transport.keys import make as make_keys
from decoupled.transport.keys import of_worker
from decoupled.user_code import allow_all


class LauncherName(StrEnum):
    """Who starts the workers."""

    LOCAL = "local"
    RAY = "ray"


@command
@takes("watching", watch_options)
@takes_run
def train(
    run: Run,
    out: Out = None,
    resume: Resume = None,
    watching: WatchOptions = NOBODY,
    json_file: JsonFile = None,
    launcher: Annotated[
        LauncherName, typer.Option(help="Who starts the workers: local (on this machine), or ray (on the nodes of its cluster).")
    ] = LauncherName.LOCAL,
    ray_address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The Ray cluster, or auto (the default): the one of this machine.")
    ] = None,
) -> None:
    """Train a network, by default with one worker process per layer, all on this machine."""
    if ray_address is not None and launcher is not LauncherName.RAY:
        raise UsageError("--ray-address says where Ray is, so give --launcher ray as well.")
    if launcher is LauncherName.RAY and run.schedule == "single":
        raise UsageError("The schedule single has no workers that Ray could start. Leave --launcher out.")
    _train(run, out, resume, json_file, watching, on_ray(ray_address or "auto") if launcher is LauncherName.RAY else here)


@command
@takes("watching", watch_options)
@takes_run
def coordinator(
    run: Run,
    bind: Annotated[str, typer.Option(help="Where to wait for the workers.")] = ADDRESS,
    keys: KeysFolder = None,
    insecure: Insecure = False,
    keep_workers: Annotated[bool, typer.Option("--keep-workers", help="Then have the workers wait for another run.")] = False,
    out: Out = None,
    resume: Resume = None,
    watching: WatchOptions = NOBODY,
    json_file: JsonFile = None,
) -> None:
    """The same by hand: wait for workers that are started with `decoupled worker`."""
    if run.schedule == "single":
        raise UsageError("The schedule single has no workers to coordinate. Use `decoupled train --schedule single`.")
    meeting = by_hand(listening(bind, insecure, keys is not None), keys, keep_workers)
    _train(run, out, resume, json_file, watching, meeting)


def _train(
    run: Run,
    out: Path | None,
    resume: Path | None,
    json_file: Path | None,
    watching: WatchOptions,
    launcher: Launcher,
) -> None:
    can_be_written(json_file)
    if resume is not None and out is not None:
        raise UsageError("--resume goes on in the run's own folder, so leave --out out.")
    folder = resume or out or folders.fresh_folder(run, run.schedule.rpartition(":")[2])
    if resume is None:
        folders.refuse_used(folder)  # before anybody is told where to watch
    try:
        with Display(run) as display, watching.watch(run, folder, display.warn) as observers:

            def progress(now: Progress) -> None:
                display.progress(now)
                observers.progress(now)

            rest = (progress, launcher, display.waiting, display.warn, observers.take_faults)
            begin = functools.partial(api.train, run, folder) if resume is None else functools.partial(api.resume, folder, run)
            report = begin(*rest, on_start=display.start)
    except folders.NotKept as error:
        summary(error.report)
        raise
    except KeyboardInterrupt:
        hint = [f"With --resume {folder} it goes on."] if any(folder.glob("checkpoints/*/manifest.json")) else []
        raise KeyboardInterrupt(*hint) from None
    summary(report)
    if json_file is not None:
        write_json(json_file, report.to_json())


@command
def worker(
    join: Annotated[str, typer.Option(help="The coordinator's address, such as tcp://127.0.0.1:5555.")],
    host: Host = "127.0.0.1",
    keys: KeysFolder = None,
    insecure: Insecure = False,
    code: Code = None,
    model: Annotated[
        str | None, typer.Option(metavar="FILE:NAME", help="The run's model where it is code of yours; the same as --code FILE.")
    ] = None,
    owned: Annotated[bool, typer.Option("--owned", help="End when standard input ends, with the process that holds it.")] = False,
) -> None:
    """One worker: it asks the coordinator which stage it is. May be started before the coordinator."""
    if owned:
        end_with_stdin()
    allow_all([*(code or ()), *Run(model=model or "mlp").code])
    own = of_worker(keys) if keys is not None else None
    work(join, host, insecure, own, say)


@functools.partial(command, group=keys)
def make_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the keys.")],
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Workers that get a pair of keys each.")] = 8,
) -> None:
    """Make keys: a folder for the coordinator, and one for each worker."""
    make_keys(folder, workers)
    print(f"{folder}/coordinator stays with the coordinator: decoupled coordinator --keys {folder}/coordinator")
    last = f" to {folder}/worker-{workers - 1}" if workers > 1 else ""
    print(f"{folder}/worker-0{last}: copy one to each host (scp -rp): decoupled worker --keys worker-0")
