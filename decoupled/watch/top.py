"""A run in a terminal: the same as on the page, from a folder on this host or from the page of another."""

import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from decoupled.errors import UsageError
from decoupled.watch.follow import Follower
from decoupled.watch.records import Now

EVERY_S = 0.25
ANSWER_BYTES_MAX = 1 << 22
ASK_S = 5.0

OVER = ("finished", "interrupted")

Told: TypeAlias = dict[str, Any]  # see Follower.now

COLOURS = {"F": "blue", "B": "red", "S": "magenta", "R": "yellow", "U": "cyan", "E": "green", "C": "white", "P": "white"}
STATE_COLOURS = {"computing": "blue", "refining": "yellow", "waiting": "bright_black", "restarting": "red", "silent": "red"}
NAMES = {"F": "forward", "B": "backward", "S": "synthetic", "U": "update", "R": "refine", "E": "evaluate"}
HEIGHTS = " ▁▂▃▄▅▆▇██"
TOGETHER = 4  # cells in a column


def show(run: str | None) -> None:
    """Shows a run until it is finished, or once where the output is no terminal. Raises UsageError when there is none."""
    ask, console = _asker(run), Console()
    if not console.is_terminal:
        console.print(picture(ask(), console.width))
        return
    with Live(console=console, auto_refresh=False) as live:
        while (told := ask())["state"] not in OVER:
            live.update(picture(told, console.width), refresh=True)
            time.sleep(EVERY_S)
        live.update(picture(told, console.width), refresh=True)


def _asker(run: str | None) -> Callable[[], Told]:
    if run is not None and (run.startswith(("http://", "https://")) or (":" in run and not Path(run).exists())):
        url = run if "://" in run else f"http://{run}"
        return lambda: _fetch(url.rstrip("/") + "/api/now")
    folder = Path(run) if run is not None else _newest()
    if not (folder / "run.toml").exists():
        raise UsageError(f"{folder} holds no run: there is no {folder / 'run.toml'}.")
    follower = Follower(folder)

    def ask() -> Told:
        while follower.refresh():
            pass
        if follower.failure is not None:
            raise UsageError(follower.failure)
        return follower.now()

    return ask


def _newest() -> Path:
    found = sorted(Path("runs").glob("**/run.toml"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError("There is no run in runs/. Name a run's folder, or the address of its page.")
    return found[-1].parent


def _fetch(url: str) -> Told:
    try:
        with urllib.request.urlopen(url, timeout=ASK_S) as answer:
            return Now.model_validate_json(answer.read(ANSWER_BYTES_MAX)).model_dump()
    except (OSError, HTTPException, ValueError) as error:
        reason = "it tells something else" if isinstance(error, ValidationError) else getattr(error, "reason", error)
        raise UsageError(f"{url} does not tell of a run: {reason}. Is the page served there, with --dashboard?") from None


def picture(told: Told, width: int) -> RenderableType:
    """A run as it is, for a terminal so many columns wide."""
    told = _printable(told)
    run, now = told["run"], told["now"]
    title = Text.assemble(
        (run["folder"], "bold"), "  ", f"{run.get('schedule', '')} on {run.get('data', '')}", "  ", told["state"]
    )
    if not now:
        return title
    parts = [
        title,
        _whole(told, now),
        _workers(run, now, told["state"] in OVER),
        *_strips(told["cells"], width),
        *_events(told["events"]),
    ]
    return Group(*parts)


def _printable(value: Any) -> Any:
    """The same without what could steer a terminal, for it may come from a stranger."""
    match value:
        case str():
            return "".join(one if one.isprintable() else "?" for one in value)
        case dict():
            return {key: _printable(inner) for key, inner in value.items()}
        case list():
            return [_printable(inner) for inner in value]
    return value


def _whole(told: Told, now: Told) -> RenderableType:
    whole = told["report"] or now
    line = (
        f"{now['seconds']:.1f} s  epoch {now['epoch']}  {whole['samples_per_s']:,.0f} samples/s  overlap {whole['overlap']:.2f}"
    )
    line += "" if now["loss"] is None else f"  loss {now['loss']:.4f}"
    for one in told["evaluations"][-1:]:
        line += "" if one["accuracy"] is None else f"  test {one['accuracy']:.2%}"
        line += "" if one["r2"] is None else f"  test R2 {one['r2']:.4f}"
        line += "".join(f"  {name} {value:,.4g}" for name, value in one["metrics"].items() if value is not None)
    bar = ProgressBar(total=max(now["samples_total"], 1), completed=now["samples_fed"], width=40)
    table = Table.grid(padding=(0, 2))
    table.add_row(bar, f"{now['samples_fed']:,} of {now['samples_total']:,} samples")
    return Group(Text(line), table)


def _workers(run: Told, now: Told, is_over: bool) -> Table:
    names = ("stage", "layers", "doing", "inbox", "samples/s", "busy %", "staleness", "true %", "head cosine")
    table = Table(*names, box=None, padding=(0, 2, 0, 0))
    for column in table.columns[3:]:
        column.justify = "right"
    for one in now["workers"]:
        cells = (
            str(one["stage"]),
            ",".join(map(str, one["layers"])),
            Text("ended") if is_over else Text(one["state"], STATE_COLOURS[one["state"]]),
            f"{one['inbox']}/{run['window']}" if run.get("window") else str(one["inbox"]),
            f"{one['samples_per_s']:,.0f}",
            f"{one['busy'] * 100:.0f}",
            f"{one['staleness_mean']:.1f}",
            "-" if one["truth"] is None else f"{one['truth'] * 100:.0f}",
            "-" if one["head_cosine"] is None else f"{one['head_cosine']:.2f}",
        )
        table.add_row(*cells)
    return table


def _strips(cells: Told, width: int) -> list[Text]:
    """What each worker did of late: how much of a column's time it computed, and what most of it was."""
    known = len(cells["strips"][0]) // 2 // TOGETHER if cells["strips"] else 0
    count = max(min(width - 10, known), 0)
    if not count:
        return []
    column_ms = TOGETHER * cells["ms"]
    legend = Text(f"{count * column_ms / 1000:.1f} s, {column_ms} ms a column: ", "bright_black")
    for letter, name in NAMES.items():
        legend.append(f"{name} ", COLOURS[letter])
    strips = [_strip(stage, text[-2 * count * TOGETHER :]) for stage, text in enumerate(cells["strips"])]
    if any("?" in strip.plain for strip in strips):
        legend.append("? not reported", "red")
    return [legend, *strips]


def _strip(stage: int, text: str) -> Text:
    line = Text(f"stage {stage:<2} ", no_wrap=True)
    for start in range(0, len(text), 2 * TOGETHER):
        part = text[start : start + 2 * TOGETHER]
        _, letter = max(zip(part[1::2], part[::2], strict=True))
        if letter in "x?":
            line.append(letter, "red")
        else:
            line.append(HEIGHTS[round(sum(map(int, part[1::2])) / TOGETHER)], COLOURS.get(letter, "white"))
    return line


def _events(events: list[Told]) -> list[Text]:
    return [Text(f"{one['seconds']:7.1f} s  {_event(one)}", no_wrap=True, overflow="ellipsis") for one in events[-6:]]


def _event(one: Told) -> str:
    where = "" if one["stage"] is None else f"stage {one['stage']} "
    return f"{where}{one['what']}: {one['detail']}" if one["detail"] else f"{where}{one['what']}"
