"""The command that shows what a run comes to before anything is trained: layers, what they cost, and the cut into stages."""

from rich.console import Console
from rich.table import Table

from decoupled import api
from decoupled.cli.app import JsonFile, can_be_written, command, write_json
from decoupled.cli.options import takes_run
from decoupled.config import Run
from decoupled.runtime.plan import HeadPlan, Plan, StagePlan

PIPE_WIDTH = 110  # of what is no terminal and has no width


@command
@takes_run
def plan(run: Run, json_file: JsonFile = None) -> None:
    """Show a run's model, what its layers and heads cost here, and how it is cut into stages, without training it."""
    can_be_written(json_file)
    found = api.plan(run)
    if json_file is not None:
        write_json(json_file, found.to_json())
    show(found)


def show(plan: Plan) -> None:
    """Prints the plan: the layers, then the stages."""
    weights = sum(layer.weights for layer in plan.layers)
    print(f"{plan.model} on {plan.data}, {plan.schedule}: {len(plan.layers)} layers that learn {weights:,} numbers")
    what = "ms on one thread here" if plan.unit == "ms" else "millions of multiplications"
    print(f"Work is that of a microbatch of {plan.samples:,} samples, in {what}; bytes are those of a sample.\n")
    _print(_layers(plan))
    if len(plan.stages) > 1:
        print()
        _print(_stages(plan))
    notes = [""]
    if any(stage.head is not None for stage in plan.stages):
        notes.append("A head's products are a share of its stage's.")
    if plan.feedback_every not in (None, 1):
        notes.append(f"One gradient in {plan.feedback_every} comes back (--feedback-every).")
    if plan.is_usual:
        notes.append(f"{len(plan.stages)} stages, unless --workers says another number, up to the {len(plan.layers)} layers.")
    print("\n".join(notes))


def _layers(plan: Plan) -> Table:
    table = _table("stage", "layer", "what", "gives", "learns", "forward", "backward")
    for layer in plan.layers:
        gives = layer.gives.removeprefix("float32 ").removeprefix("N x ")
        work = (_work(plan.unit, value) for value in (layer.forward, layer.backward))
        table.add_row(str(layer.stage), str(layer.layer), layer.name, gives, f"{layer.weights:,}", *work)
    return table


def _stages(plan: Plan) -> Table:
    columns = ["stage", "layers", "work", "sends", "gets back"]
    has_heads = any(stage.head is not None for stage in plan.stages)
    table = _table(*columns, *(("head", "takes", "products") if has_heads else ()))
    for stage in plan.stages:
        table.add_row(*_stage(stage), *(_head(stage.head) if has_heads else ()))
    return table


def _stage(stage: StagePlan) -> tuple[str, ...]:
    first, last = stage.layers[0], stage.layers[-1]
    sent = (f"{stage.sends_bytes:,} B", f"{stage.returned_bytes:,} B") if stage.sends_bytes else ("-", "-")
    return (str(stage.stage), str(first) if first == last else f"{first}-{last}", f"{stage.share:.0%}", *sent)


def _head(head: HeadPlan | None) -> tuple[str, ...]:
    if head is None:
        return ("-", "-", "-")
    takes = "-" if head.ms is None else f"{head.ms:.1f} ms"
    return (head.name, takes, "-" if head.share is None else f"{head.share:.1%}")


def _work(unit: str, value: float) -> str:
    return f"{value:.1f}" if unit == "ms" else f"{value / 1e6:,.1f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        is_text = column in ("what", "gives", "head", "layers")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=column not in ("what", "gives"))
    return table


def _print(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)
