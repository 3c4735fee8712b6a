"""What a person reads of schedules on paper: the timeline of a short run, or a table of what a network comes to."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from decoupled.simulator.figures import STEADY, Figures
from decoupled.simulator.timeline import Forecast

STYLES = {
    "F": "blue",
    "B": "green",
    "S": "magenta",
    "T": "magenta",
    "C": "green",
    "U": "cyan",
    "R": "yellow",
    "E": "white",
    ">": "white",
    "X": "red",
    "D": "red",
    ".": "dim",
}
LEGEND = "F forward  B backward  S backward from a synthetic gradient  U update  R refine  . wait"
OF_CORRECTED = "  T as S, to be corrected  C correction"


def on_paper(found: Mapping[str, Figures], samples: int) -> None:
    """What a network comes to under each schedule, a row for each; a microbatch has so many samples."""
    headers = (
        "schedule",
        "samples/s",
        "computes",
        "true",
        "stale",
        "missed",
        "undone",
        "failures",
        "checkpoints",
        "feed",
        "saving",
    )
    rows = [(name, *_on_paper(one, samples)) for name, one in found.items()]
    table = Table(box=None, pad_edge=False)
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 120).print(table)
    if unsteady := [name for name, one in found.items() if not one.is_steady]:
        print(f"Not steady: the rates of the last two quarters differ by more than {STEADY:.0%} under {', '.join(unsteady)}.")


def _on_paper(found: Figures, samples: int) -> tuple[str, ...]:
    took = "" if found.checkpoint_time is None else f" of {found.checkpoint_time:,.0f} s"
    return (
        f"{max(found.rate * samples, 0.0):,.1f}",
        f"{found.utilisation:.0%}",
        "-" if found.truth is None else f"{found.truth:.0%}",
        "-" if found.staleness is None else f"{found.staleness:,.0f}",
        f"{found.missed:.0%}",
        f"{found.undone:.0%}",
        f"{found.failures:,}",
        f"{found.checkpoints:,}{took}",
        f"{found.feed_busy:.0%}",
        f"{found.saving_busy:.0%}",
    )


def timeline(forecast: Forecast, schedule: str) -> None:
    """A simulated run: a row per stage, then the figures."""
    console = Console()
    width = max(min(console.width - 10, 110), 20)
    print(f"{schedule}: {forecast.stages} stages, {forecast.makespan:g} units of time")
    rows = [_bins(forecast, stage, width) for stage in range(forecast.stages)]
    for stage, letters in enumerate(rows):
        row = Text(f"stage {stage:<3}", style="bold")
        for letter in letters:
            row.append(letter, STYLES[letter])
        console.print(row, no_wrap=True, crop=False)
    print(LEGEND + OF_CORRECTED * any("T" in letters for letters in rows))
    peaks = ", ".join(map(str, forecast.peak_stash))
    print(f"bubble {forecast.bubble:.3f}, utilisation {forecast.utilisation:.3f}, peak stash per stage {peaks}")


def _bins(forecast: Forecast, stage: int, width: int) -> str:
    """What the stage does over time, in at most `width` letters."""
    fits = width / forecast.makespan if forecast.makespan > 0 else 0.0
    scale = float(int(fits)) or fits  # whole columns for a unit of time where they fit; else columns are samples
    letters = ["."] * round(forecast.makespan * scale)
    for slot in forecast.slots:
        if slot.stage == stage:
            for i in range(max(round(slot.start * scale), 0), min(round(slot.end * scale), len(letters))):
                letters[i] = str(slot.action)[0]
    return "".join(letters)
