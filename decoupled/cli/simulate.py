"""The command that runs schedules on paper: a short run as a timeline, or a network of devices and links as figures."""

import math
from pathlib import Path
from typing import Annotated

import typer

from decoupled.cli.app import JsonFile, can_be_written, command, write_json
from decoupled.config import PIPELINES
from decoupled.errors import UsageError
from decoupled.forecasts import on_paper, timeline
from decoupled.schedules.catalogue import EXACT, NAMES, Settings, make
from decoupled.schedules.feedback import Feedback
from decoupled.schedules.links import Overflow, window_under
from decoupled.simulator.figures import Figures, figures
from decoupled.simulator.file import NetworkFile, read
from decoupled.simulator.network import Costs, Link
from decoupled.simulator.timeline import simulate as run_on_paper

OF_A_TIMELINE = ("stages", "microbatches", "forward", "backward", "input_gradient", "update", "synthesize", "refine", "latency")
OF_A_NETWORK = ("seconds", "seed")


@command
def simulate(
    context: typer.Context,
    network: Annotated[
        Path | None,
        typer.Argument(metavar="[NETWORK]", help="File of devices and links; without it, equal stages."),
    ] = None,
    schedule: Annotated[str, typer.Option(help=f"{', '.join(NAMES)}; for a network several, with commas.")] = "dni",
    stages: Annotated[int, typer.Option(min=1, max=64, help="Stages, each with a worker.")] = 4,
    microbatches: Annotated[int, typer.Option(min=1, max=100_000, help="Microbatches that go through them.")] = 8,
    minibatch: Annotated[int, typer.Option(min=1, help="gpipe, 1f1b, 2bw: microbatches that make one update.")] = 4,
    forward: Annotated[float, typer.Option(min=0, help="Time of a forward pass, in any unit.")] = 1.0,
    backward: Annotated[float, typer.Option(min=0, help="Time of a backward pass down to the weights.")] = 1.0,
    input_gradient: Annotated[float, typer.Option(min=0, help="On top of it, where a gradient is sent up.")] = 1.0,
    update: Annotated[float, typer.Option(min=0, help="Time of an optimiser's step.")] = 0.0,
    synthesize: Annotated[float, typer.Option(min=0, help="dni: time to synthesize a gradient.")] = 0.0,
    refine: Annotated[float, typer.Option(min=0, help="dni: time to refine a head.")] = 0.0,
    latency: Annotated[float, typer.Option(min=0, help="A message's way to a neighbour.")] = 0.0,
    feedback_every: Annotated[int, typer.Option(min=1, help="dni: gradients that come back.")] = 4,
    feedback: Annotated[
        Feedback, typer.Option(help="dni: which gradient goes up, chained, bootstrapped, adaptive or corrected.")
    ] = "chained",
    share: Annotated[float, typer.Option(min=0.001, max=1, help="dni: most that is kept while there is room.")] = 1.0,
    overflow: Annotated[Overflow, typer.Option(help="dni: when the next inbox is full, block, drop-oldest or latest.")] = "block",
    stash_max: Annotated[int, typer.Option(min=1, help="dni: microbatches whose gradient is out.")] = 8,
    extra: Annotated[
        int, typer.Option(min=0, help="async1f1b, 2bw: microbatches in flight beyond the stages that are left.")
    ] = 0,
    window: Annotated[int, typer.Option(min=1, max=4096, help="Microbatches that fit a stage's inbox.")] = 8,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, max=1e7, help="A network's time on paper (default: 1,000 microbatches and more).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of a network's failures and jitter.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Run schedules on paper: a timeline of a few stages, or what a network of up to 1,024 devices does."""
    can_be_written(json_file)
    settings = Settings(feedback_every, stash_max, feedback, overflow, share, extra)
    names = [name.strip() for name in schedule.split(",")]
    if unknown := [name for name in names if name not in NAMES]:
        raise UsageError(f"There is no schedule {unknown[0]!r} to simulate. Choose {' or '.join(NAMES)}.")
    _refuse(context, OF_A_TIMELINE if network is not None else OF_A_NETWORK, network)
    if network is not None:
        of_network = read(network)
        found = {name: _figures(name, settings, of_network, seconds, window, minibatch, seed) for name in names}
        if json_file is not None:
            write_json(json_file, {name: one.to_json() for name, one in found.items()})
        on_paper(found, of_network.samples)
        return
    if not all(map(math.isfinite, (forward, backward, input_gradient, update, synthesize, refine, latency))):
        raise UsageError("Costs and latency are finite numbers.")
    if len(names) > 1:
        raise UsageError("A timeline is of one schedule; several can be compared over a network's file.")
    costs = Costs(forward, backward, input_gradient, update, refine, synthesize)
    (name,) = names
    parts, room, link = _minibatch(name, minibatch), window_under(overflow, window), Link(latency)
    forecast = run_on_paper(lambda place: make(name, place, settings), stages, microbatches, costs, room, parts, link)
    if json_file is not None:
        write_json(json_file, forecast.to_json())
    timeline(forecast, name)


def _refuse(context: typer.Context, names: tuple[str, ...], network: Path | None) -> None:
    """Raises UsageError where one of these options is given."""
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        why = f"stands in the file instead, where {network} is given" if network is not None else "is for a network's file"
        raise UsageError(f"{option} {why}.")


def _minibatch(schedule: str, minibatch: int) -> int:
    return minibatch if schedule in PIPELINES else 1


def _figures(
    name: str, settings: Settings, file: NetworkFile, seconds: float | None, window: int, minibatch: int, seed: int
) -> Figures:
    network = file.network()
    if seconds is None:  # as long as the slowest takes for so many, and so many more as have to fill the network
        seconds = max(one.costs.forward + one.costs.backward for one in network.devices) * (1000 + 2 * len(network.devices))
    room = window_under(settings.overflow, window)
    return figures(
        lambda place: make(name, place, settings), network, seconds, name in EXACT, room, _minibatch(name, minibatch), seed
    )
