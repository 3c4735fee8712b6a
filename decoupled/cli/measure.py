"""Commands that measure: the same training under different schedules, for real and on paper."""

import contextlib
import shlex
import sys
from typing import Annotated

import typer

from decoupled import folders
from decoupled.bench import document
from decoupled.bench.benchmark import measure
from decoupled.bench.conditions import parse
from decoupled.bench.display import Steps, figures
from decoupled.bench.plan import SCHEDULES, plan
from decoupled.cli.app import JsonFile, Out, can_be_written, command, write_json
from decoupled.cli.options import takes_run
from decoupled.config import Run
from decoupled.user_code import absolute, allow_all


@command
@takes_run
def bench(
    run: Run,
    schedule: Annotated[str, typer.Option(help="Schedules to compare.")] = ",".join(SCHEDULES),
    microbatches: Annotated[
        int | None, typer.Option(min=1, help="gpipe, 1f1b, 2bw: parts of a batch (default: the fastest of 2, 4, 8).")
    ] = None,
    peers: Annotated[str | None, typer.Option(help="torch: also the same in PyTorch, in one process and as pipelines.")] = None,
    repeat: Annotated[
        int,
        typer.Option("--repeat", "--seeds", min=1, max=1000, help="Rounds, each with a seed of its own, in turning order."),
    ] = 3,
    warm_up: Annotated[int, typer.Option(min=1, help="Updates left out at both ends of a run.")] = 20,
    target_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Also say how long steady training takes to it, and who is first.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(help="With a target: learning rates of which each side gets its best (default: lr/2, lr and 2 lr)."),
    ] = None,
    link_latency_ms: Annotated[str | None, typer.Option(help="Delays of every message, such as 0,1,5,10,20.")] = None,
    link_bandwidth_mbit: Annotated[str | None, typer.Option(help="Bandwidths of every link, each way: 100,1000.")] = None,
    straggler: Annotated[str | None, typer.Option(metavar="STAGE:FACTORS", help="Slow one stage down: 3:1,2,5.")] = None,
    straggler_for: Annotated[
        str | None, typer.Option(metavar="SECONDS/EVERY", help="It comes and goes: 10/30 is slow for 10 of every 30 seconds.")
    ] = None,
    slow_link: Annotated[
        str | None, typer.Option(metavar="STAGE:FACTORS", help="Slow the emulated link after one stage down: 1:1,5,20.")
    ] = None,
    kill_every_s: Annotated[
        str | None, typer.Option(help="Seconds after which a worker is killed, again and again, such as 30; beside none.")
    ] = None,
    drop: Annotated[str | None, typer.Option(help="Shares of gradients to lose, such as 0,0.1,0.3 (dni).")] = None,
    workers: Annotated[str | None, typer.Option(help="Numbers of workers: 2,4,8,16 (emulated devices: and of layers).")] = None,
    device_time_ms: Annotated[
        float | None, typer.Option(help="Emulate a device for each worker: a layer's backprop step on a batch takes so long.")
    ] = None,
    out: Out = None,
    json_file: JsonFile = None,
) -> None:
    """Run the same training under different schedules, side by side: speed, its limits, accuracy."""
    can_be_written(json_file)
    allow_all(run.code)  # which the options name
    run = run.with_references(absolute)
    conditions = parse(link_latency_ms, straggler, drop, workers, link_bandwidth_mbit, straggler_for, slow_link, kill_every_s)
    wanted = plan(run, schedule, microbatches, peers, conditions, repeat, warm_up, target_accuracy, device_time_ms, rates)
    folder = folders.new_folder(out if out is not None else folders.fresh_folder(run, "bench"))
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
        write_json(json_file, report)
