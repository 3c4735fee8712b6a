"""Commands for what was trained: evaluate, predict, export, compare, and look at what happened when."""

import math
from pathlib import Path
from typing import Annotated

import typer

from decoupled import export, folders, plots, trained
from decoupled.cli.app import JsonFile, command, write_json
from decoupled.cli.options import Code
from decoupled.console import comparison, scored
from decoupled.errors import UsageError
from decoupled.user_code import allow_all

PICTURES = ("", ".png", ".svg")


@command
def eval_(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    data: Annotated[str | None, typer.Option(help="Other data than the run's own: a name or an .npz file.")] = None,
    json_file: JsonFile = None,
    code: Code = None,
) -> None:
    """Evaluate a trained network on the whole test set, without workers."""
    allow_all(code)
    found = trained.evaluate(folder, data)
    if json_file is not None:
        figures = {
            "test_loss": found.loss,
            "test_accuracy": found.accuracy,
            "test_r2": found.r2,
            "test_mae": found.mae,
            "test_metrics": found.metrics,
        }
        write_json(json_file, figures | {"samples": found.samples})
    print(f"{scored(found.loss, found.accuracy, found.r2, found.mae, found.metrics)}, on {found.samples:,} samples")


@command
def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    input: Annotated[Path, typer.Option(help="Raw inputs, one row a sample, as .npy.")],
    output: Annotated[Path, typer.Option(help="Where to write the answers, as .npy.")],
    proba: Annotated[bool, typer.Option("--proba", help="Write the probability of each class or bit instead.")] = False,
    code: Code = None,
) -> None:
    """Write a trained network's answers for new inputs, without workers."""
    allow_all(code)
    answers = trained.predict(folder, input, output, proba)
    shape = f" of shape {answers.shape[1:]}" if math.prod(answers.shape[1:]) != 1 else ""
    print(f"{output}: {len(answers):,} answers{shape}")


@command
def sample(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run on text:FILE.")],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")],
    tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many characters to add.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, max=100, help="0: always the likeliest; higher: more varied.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is drawn.")] = 0,
    code: Code = None,
) -> None:
    """Go on with a text as a trained network foretells it, character by character, without workers."""
    allow_all(code)
    text = trained.sample(folder, prompt, tokens, temperature, seed)
    print(prompt, end="", flush=True)
    for character in text:
        print(character, end="", flush=True)
    print()


@command
def export_(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    to: Annotated[Path, typer.Option(help="Where to write it, as .npz, .safetensors or .onnx.")],
    code: Code = None,
) -> None:
    """Write a trained network to a file for other programs."""
    allow_all(code)
    network = folders.load_network(folder)
    export.export(network, to)
    print(f"{to}: {network}")


@command
def compare(runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")]) -> None:
    """Print finished runs side by side; speed-up is against the lockstep run among them, or else the first, on the same data."""
    names = [folder.resolve().name for folder in runs]
    has_twins = len(set(names)) < len(names)
    comparison({str(run) if has_twins else name: folders.load_report(run) for run, name in zip(runs, names, strict=True)})


@command
def trace(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the trace.")] = Path("trace.json"),
    seconds: Annotated[float, typer.Option(min=0.001, help="How long a stretch, from the middle of each run.")] = 5.0,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw a few steps of each here, as .png and .svg; workers are rows.")
    ] = None,
) -> None:
    """Write what each worker did when as a trace for chrome://tracing or ui.perfetto.dev."""
    if picture is not None and picture.suffix not in PICTURES:
        raise UsageError(f"{picture} cannot be drawn: a picture is written as .png and .svg.")
    events = trained.trace(runs, output, seconds)
    print(f"{output}: {events:,} events. Open it at https://ui.perfetto.dev")
    if picture is not None:
        timed = [(folders.load_report(folder)["schedule"], folders.load_spans(folder)) for folder in runs]
        for path in plots.timeline(timed, picture.with_suffix("")):
            print(path)
