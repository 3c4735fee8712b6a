"""Charts: curves over a condition, the course of learning, and bars; a schedule looks the same in all of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoupled.plots.paper import Files, drawing, panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {  # by schedule; "torch" alone is for what has no counterpart here
    "single": ("#4D4D4D", "s"),
    "lockstep": ("#0072B2", "o"),
    "gpipe": ("#E69F00", "^"),
    "1f1b": ("#009E73", "v"),
    "async1f1b": ("#56B4E9", "<"),
    "2bw": ("#F0E442", "p"),
    "dni": ("#D55E00", "D"),
    "local": ("#8C564B", ">"),
    "torch": ("#CC79A7", "P"),
}
SPARE_COLOURS = ("#7F7F00", "#9467BD", "#17BECF")
REFERENCE: dict[str, Any] = {"color": "#808080", "linestyle": (0, (6, 4)), "linewidth": 1.2, "zorder": 1}  # lines to compare with


@dataclass(frozen=True, slots=True)
class Point:
    """What repeated runs gave at x: the median, the lowest and the highest."""

    x: float
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Look:
    """How a series appears; PyTorch's version of a schedule has the same colour, but dashed lines and hollow marks."""

    colour: str
    marker: str
    is_peer: bool


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each series, told by the schedule its name mentions; where that is taken or none, a spare colour."""
    found: dict[str, Look] = {}
    spare = cycle(SPARE_COLOURS)
    for name in names:
        words = re.findall("[a-z0-9]+", name.lower().replace("pytorch", "torch"))
        own = next((Look(*LOOKS[schedule], "torch" in words) for schedule in LOOKS if schedule in words), None)
        found[name] = own if own and own not in found.values() else Look(next(spare), "X", "torch" in words)
    return found


def curves(
    stem: Path,
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[Point]],
    ideal: Sequence[tuple[float, float]] | None = None,
) -> Files:
    """A line through the medians of each series, its spread shaded; `ideal` is a dashed line through its (x, y)."""
    with drawing():
        figure, (axes,) = panels(4.5)
        for name, look in looks(series).items():
            _curve(axes, name, series[name], look)
        if ideal is not None:
            axes.plot(*zip(*ideal, strict=True), label="ideal", **REFERENCE)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        ticks = sorted({point.x for points in series.values() for point in points})
        axes.set_xticks(ticks, [number(x) for x in ticks])
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.legend()
        return save(figure, stem)


def _curve(axes: "Axes", name: str, points: Sequence[Point], look: Look) -> None:
    x, median, low, high = zip(*((p.x, p.median, p.low, p.high) for p in sorted(points, key=lambda p: p.x)), strict=True)
    axes.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0)
    _line(axes, name, x, median, look)


def _line(axes: "Axes", name: str, x: Sequence[float], y: Sequence[float], look: Look) -> None:
    axes.plot(
        x,
        y,
        label=name,
        color=look.colour,
        marker=look.marker,
        markeredgecolor=look.colour if look.is_peer else "white",
        linestyle="--" if look.is_peer else "-",
        markerfacecolor="white" if look.is_peer else look.colour,
    )


def learning(
    stem: Path,
    title: str,
    losses: Mapping[str, Sequence[Point]],
    errors: Mapping[str, Sequence[Point]],
    target: float | None,
) -> Files:
    """Test loss, and test error in per cent, against seconds of training, their spread shaded.

    `target` is the accuracy to reach, 0 to 1, drawn as an error.
    """
    with drawing():
        figure, (left, right) = panels(4, columns=2)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        _descent(left, "test loss", losses)
        _descent(right, "test error, %", errors)
        if target is not None:
            right.axhline(100 * (1 - target), label="target", **REFERENCE)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=6)
        return save(figure, stem)


def _descent(axes: "Axes", y_label: str, series: Mapping[str, Sequence[Point]]) -> None:
    """Lines through the medians over seconds, on a logarithmic scale."""
    from matplotlib.ticker import MaxNLocator

    for name, look in looks(series).items():
        _curve(axes, name, series[name], look)
    axes.set(xlabel="seconds of training", ylabel=y_label, xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if any(point.median > 0 for points in series.values() for point in points):
        _logarithmic(axes)
    axes.grid(axis="y")


def _logarithmic(axes: "Axes") -> None:
    """A scale for y with numbers that are read at a glance; what reaches 0 leaves the picture at the bottom."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log", nonpositive="clip")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def bars(stem: Path, title: str, y_label: str, values: Mapping[str, Point]) -> Files:
    """A bar for each median, from the top down, with its spread and the numbers; a point's x means nothing here."""
    with drawing():
        figure, (axes,) = panels(1.1 + 0.42 * len(values))
        for row, (name, look) in enumerate(looks(values).items()):
            _bar(axes, row, values[name], look)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set(title=title, xlabel=y_label)
        axes.set_xlim(0, 1.4 * max((point.high for point in values.values()), default=1))  # room for the numbers
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.grid(axis="x")
        return save(figure, stem)


def _bar(axes: "Axes", row: int, point: Point, look: Look) -> None:
    face, hatch = ("white", "////") if look.is_peer else (look.colour, None)
    axes.barh(row, point.median, height=0.62, color=face, edgecolor=look.colour, hatch=hatch)
    text = number(point.median)
    if point.low < point.high:
        spread = [[point.median - point.low], [point.high - point.median]]
        axes.errorbar(point.median, row, xerr=spread, color="#202020", linewidth=1.2, capsize=3)
        text += f"  ({number(point.low)} to {number(point.high)})"
    axes.annotate(text, (point.high, row), (8, 0), textcoords="offset points", va="center")


def number(value: float) -> str:
    """Three digits, or a whole number with its thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
