"""The command line: parse, call, exit code; nothing else."""

import contextlib
import functools
import json
import math
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from decoupled import api, plots
from decoupled.bench import document
from decoupled.bench.benchmark import measure
from decoupled.bench.conditions import parse
from decoupled.bench.display import Steps, figures
from decoupled.bench.plan import SCHEDULES, plan
from decoupled.config import PIPELINES, Run
from decoupled.console import Display, comparison, scored, summary, timeline
from decoupled.errors import UsageError
from decoupled.guard import guarded
from decoupled.launch.work import end_with_stdin, work
from decoupled.options import Insecure, KeysFolder, takes_run
from decoupled.schedules.catalogue import NAMES, Settings, make
from decoupled.schedules.dni import Feedback, Overflow, window_under
from decoupled.schedules.simulator import Costs
from decoupled.schedules.simulator import simulate as run_on_paper
from decoupled.transport.address import listening
from decoupled.transport.keys import make as make_keys
from decoupled.transport.keys import of_worker
from decoupled.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Trains a neural network in which each layer is a worker process of its own and no layer waits for another.",
)
keys = typer.Typer(no_args_is_help=True, help="Keys, with which links between hosts are encrypted and authenticated.")
app.add_typer(keys, name="keys")


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"decoupled {__version__}")
        raise typer.Exit


class Terminated(BaseException):
    """SIGTERM came. It unwinds the stack as Ctrl-C does, so that everything is put away."""


def main() -> None:
    """The command `decoupled`."""

    def terminate(number: int, frame: object) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGHUP, terminate)  # the terminal was closed
    try:
        app()
    except Terminated:
        print("Terminated; no process is left.", file=sys.stderr)
        sys.exit(143)


def command(function: Callable[..., None], group: typer.Typer = app) -> Callable[..., None]:
    """Makes a command of a function, named as it is."""
    ends_with_a_sentence = guarded(function)
    group.command(function.__name__.rstrip("_"))(ends_with_a_sentence)
    return ends_with_a_sentence


Out = Annotated[Path | None, typer.Option(help="New folder for the run (default: one in runs/).")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")]


@command
@takes_run
def train(run: Run, out: Out = None, json_file: JsonFile = None) -> None:
    """Train a network, by default with one worker process per layer, all on this machine."""
    _train(run, out, json_file, None, None)


@command
@takes_run
def coordinator(
    run: Run,
    bind: Annotated[str, typer.Option(help="Where to wait for the workers.")] = "tcp://127.0.0.1:5555",
    keys: KeysFolder = None,
    insecure: Insecure = False,
    out: Out = None,
    json_file: JsonFile = None,
) -> None:
    """The same by hand: wait for workers that are started with `decoupled worker`."""
    if run.schedule == "single":
        raise UsageError("The schedule single has no workers to coordinate. Use `decoupled train --schedule single`.")
    _train(run, out, json_file, listening(bind, insecure, keys is not None), keys)


def _train(run: Run, out: Path | None, json_file: Path | None, address: str | None, keys: Path | None) -> None:
    _can_be_written(json_file)
    folder = out if out is not None else api.fresh_folder(run, run.schedule)
    with Display(run) as display:
        report = api.train(run, folder, display.progress, address, display.waiting, keys)
    if json_file is not None:
        _write_json(json_file, report.to_json())
    summary(report)


@command
def worker(
    join: Annotated[str, typer.Option(help="The coordinator's address, such as tcp://127.0.0.1:5555.")],
    host: Annotated[str, typer.Option(help="This host's address, as the worker before this one reaches it.")] = "127.0.0.1",
    keys: KeysFolder = None,
    insecure: Insecure = False,
    owned: Annotated[bool, typer.Option("--owned", help="End when standard input ends, with the process that holds it.")] = False,
) -> None:
    """One worker: it asks the coordinator which stage it is. May be started before the coordinator."""
    if owned:
        end_with_stdin()
    own = of_worker(keys) if keys is not None else None
    work(join, host, insecure, own, say=functools.partial(print, flush=True))


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


@command
def eval_(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    data: Annotated[str | None, typer.Option(help="Other data than the run's own: a name or an .npz file.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Evaluate a trained network on the whole test set, without workers."""
    loss, accuracy, samples = api.evaluate(folder, data)
    if json_file is not None:
        _write_json(json_file, {"test_loss": loss, "test_accuracy": accuracy, "samples": samples})
    print(f"test loss {loss:.4f}, {scored(accuracy)}, on {samples:,} samples")


@command
def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    input: Annotated[Path, typer.Option(help="Raw inputs, one row a sample, as .npy.")],
    output: Annotated[Path, typer.Option(help="Where to write the answers, as .npy.")],
) -> None:
    """Write a trained network's answers for new inputs, without workers."""
    answers = api.predict(folder, input, output)
    print(f"{output}: {len(answers):,} answers of shape {answers.shape[1:] or '()'}")


@command
def compare(folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")]) -> None:
    """Print finished runs side by side; speed-up is against the lockstep run among them, or else the first."""
    comparison([api.load_report(folder) for folder in folders])


@command
@takes_run
def bench(
    run: Run,
    schedule: Annotated[str, typer.Option(help="Schedules to compare.")] = ",".join(SCHEDULES),
    microbatches: Annotated[
        int | None, typer.Option(min=1, help="gpipe, 1f1b: parts of a batch (default: the fastest of 2, 4, 8).")
    ] = None,
    peers: Annotated[str | None, typer.Option(help="torch: also the same in PyTorch, in one process and as pipelines.")] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Rounds; the order turns round from one to the next.")] = 3,
    warm_up: Annotated[int, typer.Option(min=1, help="Updates left out at both ends of a run.")] = 20,
    target_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Also say how long steady training takes to it.")
    ] = None,
    link_latency_ms: Annotated[str | None, typer.Option(help="Delays of every message, such as 0,1,5,10,20.")] = None,
    straggler: Annotated[str | None, typer.Option(metavar="STAGE:FACTORS", help="Slow one stage down: 3:1,2,5.")] = None,
    drop: Annotated[str | None, typer.Option(help="Shares of gradients to lose, such as 0,0.1,0.3 (dni).")] = None,
    workers: Annotated[str | None, typer.Option(help="Numbers of workers: 2,4,8,16 (emulated devices: and of layers).")] = None,
    device_time_ms: Annotated[
        float | None, typer.Option(help="Emulate a device for each worker: a layer's backprop step on a batch takes so long.")
    ] = None,
    out: Out = None,
    json_file: JsonFile = None,
) -> None:
    """Run the same training under different schedules, side by side: speed, its limits, accuracy."""
    _can_be_written(json_file)
    conditions = parse(link_latency_ms, straggler, drop, workers)
    wanted = plan(run, schedule, microbatches, peers, conditions, repeat, warm_up, target_accuracy, device_time_ms)
    folder = api.new_folder(out if out is not None else api.fresh_folder(run, "bench"))
    try:
        with Steps() as steps:
            benchmark = measure(wanted, folder / "runs", steps.show)
    except BaseException:
        with contextlib.suppress(OSError):  # something was measured
            folder.rmdir()
        raise
    figures(benchmark)
    command = shlex.join(["decoupled", *sys.argv[1:]])
    report = document.to_json(benchmark, command)
    for path in document.keep(benchmark, folder, report):
        print(path)
    if json_file is not None:
        _write_json(json_file, report)


@command
def trace(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the trace.")] = Path("trace.json"),
    seconds: Annotated[float, typer.Option(min=0.001, help="How long a stretch, from the middle of each run.")] = 5.0,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw a few steps of each here, as .png and .svg; workers are rows.")
    ] = None,
) -> None:
    """Write what each worker did when as a trace for chrome://tracing or ui.perfetto.dev."""
    events = api.trace(folders, output, seconds)
    print(f"{output}: {events:,} events. Open it at https://ui.perfetto.dev")
    if picture is not None:
        runs = [(api.load_report(folder)["schedule"], api.load_spans(folder)) for folder in folders]
        stem = picture.with_suffix("") if picture.suffix in (".png", ".svg") else picture
        for path in plots.timeline(runs, stem):
            print(path)


@command
def simulate(
    schedule: Annotated[str, typer.Option(help="dni, lockstep, gpipe or 1f1b.")] = "dni",
    stages: Annotated[int, typer.Option(min=1, max=64)] = 4,
    microbatches: Annotated[int, typer.Option(min=1, max=100_000)] = 8,
    minibatch: Annotated[int, typer.Option(min=1, help="gpipe, 1f1b: microbatches that make one update.")] = 4,
    forward: Annotated[float, typer.Option(min=0, help="Time of a forward pass, in any unit.")] = 1.0,
    backward: Annotated[float, typer.Option(min=0, help="Time of a backward pass down to the weights.")] = 1.0,
    input_gradient: Annotated[float, typer.Option(min=0, help="On top of it, where a gradient is sent up.")] = 1.0,
    update: Annotated[float, typer.Option(min=0, help="Time of an optimiser's step.")] = 0.0,
    synthesize: Annotated[float, typer.Option(min=0, help="dni: time to synthesize a gradient.")] = 0.0,
    refine: Annotated[float, typer.Option(min=0, help="dni: time to refine a head.")] = 0.0,
    latency: Annotated[float, typer.Option(min=0, help="A message's way to a neighbour.")] = 0.0,
    feedback_every: Annotated[int, typer.Option(min=1, help="dni: gradients that come back.")] = 4,
    feedback: Annotated[Feedback, typer.Option(help="dni: which gradient goes up.")] = "chained",
    overflow: Annotated[Overflow, typer.Option(help="dni: when the next inbox is full.")] = "block",
    stash_max: Annotated[int, typer.Option(min=1, help="dni: microbatches whose gradient is out.")] = 8,
    window: Annotated[int, typer.Option(min=1, help="Microbatches that fit a stage's inbox.")] = 8,
    json_file: JsonFile = None,
) -> None:
    """Run a schedule on paper: its timeline, bubble, utilisation and peak stash."""
    if not all(map(math.isfinite, (forward, backward, input_gradient, update, synthesize, refine, latency))):
        raise UsageError("Costs and latency are finite numbers.")
    if schedule not in NAMES:
        raise UsageError(f"There is no schedule {schedule!r} to simulate. Choose {' or '.join(NAMES)}.")
    costs = Costs(forward, backward, input_gradient, update, refine, latency, synthesize)
    settings = Settings(feedback_every, stash_max, feedback, overflow)
    parts = minibatch if schedule in PIPELINES else 1
    room = window_under(overflow, window)
    forecast = run_on_paper(lambda place: make(schedule, place, settings), stages, microbatches, costs, room, parts)
    if json_file is not None:
        _write_json(json_file, forecast.to_json())
    timeline(forecast, schedule)


def _can_be_written(path: Path | None) -> None:
    """Refuses a file that cannot be written before the work, not after it."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"{path} cannot be written: it is no file in a folder that exists.")


def _write_json(path: Path, value: object) -> None:
    try:
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
