"""Options that several commands have: those that describe a run, and those that say who may take part."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from decoupled.config import Run, assignments, fault, from_toml, merged
from decoupled.errors import UsageError
from decoupled.folders import as_it_was
from decoupled.user_code import allow_all

DEFAULT = Run()
ADDRESS = "tcp://127.0.0.1:5555"  # where a coordinator waits for its workers

KeysFolder = Annotated[
    Path | None,
    typer.Option("--keys", metavar="DIR", help="Its keys, of `decoupled keys make`: links are encrypted, strangers kept out."),
]
Host = Annotated[str, typer.Option(help="This host's address, as the worker before this one reaches it.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Listen for other hosts without keys: nothing is encrypted.")]
Code = Annotated[
    list[str] | None,
    typer.Option("--code", metavar="FILE_OR_MODULE", help="Code of yours that this process may run. Repeatable."),
]


def run_options(
    data: Annotated[
        str | None, typer.Option(help="digits (the default), addition, mnist, cifar10, text:FILE, PATH.npz, or my_data.py:make.")
    ] = None,
    data_args: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the data, such as bits=10. Repeatable.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Folder with mnist's or cifar10's files; else $DECOUPLED_DATA, else a download.")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="Of images: none, flip, shift or flip-shift (default: flip-shift for cifar10).")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification, regression or multilabel (default: guessed from the targets).")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="mlp (the default, in numpy), torch-mlp, vgg, resnet, gpt, or my_net.py:make (PyTorch).")
    ] = None,
    model_args: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the model, such as width=64. Repeatable.")
    ] = None,
    hidden: Annotated[str | None, typer.Option(help="mlp: widths of the hidden layers (default 256,256,256).")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="dni (default), local, lockstep, gpipe, 1f1b, async1f1b, 2bw or single.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="auto (default: the one that fits), another's name, or my_head.py:Name."),
    ] = None,
    head_args: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the head, such as width=64. Repeatable.")
    ] = None,
    feedback: Annotated[
        str | None, typer.Option(help="dni: chained (default of heads that read answers), bootstrapped, adaptive or corrected.")
    ] = None,
    feedback_share: Annotated[
        float | None,
        typer.Option(help="adaptive, corrected: most of its batches that a stage keeps for their true gradient (default 1)."),
    ] = None,
    feedback_every: Annotated[
        int | None,
        typer.Option(help="Send every n-th gradient back (default 4; 1 with heads that learn from nothing else)."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="METRIC", help="To measure on the test set: top5, or my_metrics.py:mine. Repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help=f"Passes over the training data (default {DEFAULT.epochs}).")] = None,
    batch: Annotated[int | None, typer.Option(help=f"Samples in a batch, of one update (default {DEFAULT.batch}).")] = None,
    microbatches: Annotated[int | None, typer.Option(help="gpipe, 1f1b, 2bw: parts of a batch (default 4).")] = None,
    overflow: Annotated[
        str | None, typer.Option(help="dni: when the next inbox is full, block (default), drop-oldest or latest.")
    ] = None,
    wire: Annotated[
        str | None, typer.Option(help="Type in which activations and gradients travel: float32, bfloat16, float16 or int8.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help=f"Learning rate at the start (default {DEFAULT.lr:g}).")] = None,
    seed: Annotated[
        int | None, typer.Option(help=f"Decides initial weights and order of batches (default {DEFAULT.seed}).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes; with fewer than layers they hold blocks of layers.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="PyTorch: auto (default: cuda, else cpu), cpu, or cuda:0,cuda:1: stage i is on the i-th.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with any of the run's values.")] = None,
    on_failure: Annotated[
        str | None, typer.Option(help="When a worker dies: continue (default of dni) or rollback (of the others).")
    ] = None,
    stall_timeout: Annotated[
        float | None,
        typer.Option(help=f"Seconds of silence before a worker is replaced (default {DEFAULT.supervision.stall_timeout_s:g})."),
    ] = None,
    faults: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="FAULT", help="Break something, such as kill:stage=2,microbatch=400. Repeatable."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any other value. Repeatable.")
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE_OR_MODULE", help="Code of yours that a resumed run names and may use. Repeatable."),
    ] = None,
    base: Mapping[str, Any] | None = None,
) -> Run:
    """The run that the options describe: `base` and then the file first, then the options over it, then --set."""
    allow_all(code)
    plain = _given(data=data, task=task, schedule=schedule, head=head, feedback_every=feedback_every, epochs=epochs, batch=batch)
    plain |= _given(model=model, microbatches=microbatches, lr=lr, seed=seed, workers=workers)
    lists = _given(
        hidden=None if hidden is None else _widths(hidden), faults=faults and [fault(text) for text in faults], metrics=metrics
    )
    sections = {
        "dni": _given(overflow=overflow, feedback=feedback, share=feedback_share),
        "link": _given(wire=wire),
        "dataset": _given(directory=data_dir, augment=augment),
        "runtime": _given(device=device),
        "args": {
            "data": assignments(data_args or []),
            "head": assignments(head_args or []),
            "model": assignments(model_args or []),
        },
        "supervision": _given(on_failure=on_failure, stall_timeout_s=stall_timeout),
    }
    values = merged(base or {}, from_toml(config) if config is not None else {})
    return Run(**merged(merged(values, plain | lists | sections), assignments(settings or [])))


def _given(**values: Any) -> dict[str, Any]:
    """Those of the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.removesuffix(",").split(","))
    except ValueError:
        hint = "" if text.strip() else " A network without hidden layers is --set hidden=[]."
        raise UsageError(f"--hidden takes widths such as 256,256,256, not {text!r}.{hint}") from None


def takes_run(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command all of `run_options` but those it has itself; what they describe reaches it as `run`.

    Where the command can resume a run, the options go over what that run was.
    """
    own = inspect.signature(function).parameters
    options = {name: p for name, p in inspect.signature(run_options).parameters.items() if name not in {*own, "base"}}

    def with_run(**values: Any) -> None:
        resumed = values.get("resume")
        base = {} if resumed is None else {**as_it_was(resumed), "faults": []}
        run = run_options(**{name: values.pop(name) for name in options}, base=base)
        function(run=run, **values)

    return _joined(function, "run", options, with_run)


def takes(name: str, make: Callable[..., object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options that `make` has; what it makes of them reaches the command under that name.

    An option that the command has as well is for both.
    """
    options = dict(inspect.signature(make).parameters)

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function).parameters

        def with_options(**values: Any) -> None:
            made = make(**{option: values[option] if option in own else values.pop(option) for option in options})
            function(**{name: made}, **values)

        added = {option: p for option, p in options.items() if option not in own}
        return _joined(function, name, added, with_options)

    return decorate


def _joined(
    function: Callable[..., None], name: str, options: Mapping[str, inspect.Parameter], call: Callable[..., None]
) -> Callable[..., None]:
    """`call`, with the parameters of the function, of which one has the options in its place."""
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(function).parameters.values():
        parameters += options.values() if own.name == name else [own]
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
    call = functools.wraps(function)(call)
    vars(call)["__signature__"] = inspect.Signature(parameters)
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call
