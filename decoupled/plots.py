"""Pictures: each as a PNG and an SVG side by side, in colours that stay the same from one picture to the next.

matplotlib is imported only when a picture is drawn, and without a display.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from decoupled.telemetry.spans import KINDS, Rows
from decoupled.telemetry.trace import of_kind, slices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

Timed: TypeAlias = tuple[str, Sequence[Rows]]  # a run's name and its stages' spans
Files: TypeAlias = tuple[Path, Path]  # PNG, SVG

WIDTH = 9.0  # inches; a README shows them at about 800 pixels
STEPS_SHOWN = 4  # of lockstep, in a timeline
NS_PER_MS = 1e6

KIND_COLOURS = {  # those of the terminal's timeline, from the palette of Okabe and Ito, which colour-blind readers can tell
    "forward": "#0072B2",
    "backward": "#009E73",
    "synthetic": "#CC79A7",
    "update": "#56B4E9",
    "refine": "#E69F00",
    "evaluate": "#B5A642",
    "send": "#8A8A8A",
    "evict": "#D55E00",
    "drop": "#D55E00",
}
KIND_NAMES = {
    "backward": "backward, true gradient",
    "synthetic": "backward, synthetic gradient",
    "refine": "refine head",
    "evict": "give up",
}
WAITING = "#ECEFF1"

LOOKS = {  # by schedule; "torch" alone is for what has no counterpart here
    "single": ("#4D4D4D", "s"),
    "lockstep": ("#0072B2", "o"),
    "gpipe": ("#E69F00", "^"),
    "1f1b": ("#009E73", "v"),
    "dni": ("#D55E00", "D"),
    "torch": ("#CC79A7", "P"),
}
SPARE_COLOURS = ("#56B4E9", "#8C564B", "#7F7F00")
REFERENCE: dict[str, Any] = {"color": "#808080", "linestyle": (0, (6, 4)), "linewidth": 1.2, "zorder": 1}  # lines to compare with

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "decoupled",  # the same picture gives the same file
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#808080",
    "axes.axisbelow": True,
    "grid.color": "#E3E6E8",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "lines.markeredgewidth": 0.8,
}


@dataclass(frozen=True, slots=True)
class Point:
    """What repeated runs gave at x: the median, the lowest and the highest."""

    x: float
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Moment:
    """An evaluation after so many seconds of training; accuracy, 0 to 1, is None where right and wrong mean nothing."""

    seconds: float
    loss: float
    accuracy: float | None


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
    log_x: bool = False,
) -> Files:
    """A line through the medians of each series, its spread shaded; `ideal` is a dashed line through its (x, y)."""
    with _drawing():
        figure, (axes,) = _panels(4.5)
        for name, look in looks(series).items():
            _curve(axes, name, series[name], look)
        if ideal is not None:
            axes.plot(*zip(*ideal, strict=True), label="ideal", **REFERENCE)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        if log_x:
            axes.set_xscale("log", base=2)
        ticks = sorted({point.x for points in series.values() for point in points})
        axes.set_xticks(ticks, [number(x) for x in ticks])
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.legend()
        return _save(figure, stem)


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


def learning(stem: Path, title: str, series: Mapping[str, Sequence[Moment]], target: float | None) -> Files:
    """Test loss and test error against seconds of training; `target` is the accuracy to reach, 0 to 1, drawn as an error."""
    losses = {name: [(m.seconds, m.loss) for m in moments] for name, moments in series.items()}
    errors = {
        name: [(m.seconds, 100 * (1 - m.accuracy)) for m in moments if m.accuracy is not None] for name, moments in series.items()
    }
    with _drawing():
        figure, (left, right) = _panels(4, columns=2)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        _descent(left, "test loss", losses)
        _descent(right, "test error, %", errors)
        if target is not None:
            right.axhline(100 * (1 - target), label="target", **REFERENCE)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=6)
        return _save(figure, stem)


def _descent(axes: "Axes", y_label: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Lines through (seconds, y), on a logarithmic scale."""
    from matplotlib.ticker import MaxNLocator

    for name, look in looks(series).items():
        _line(axes, name, [x for x, _ in series[name]], [y for _, y in series[name]], look)
    axes.set(xlabel="seconds of training", ylabel=y_label, xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if any(y > 0 for points in series.values() for _, y in points):
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
    with _drawing():
        figure, (axes,) = _panels(1.1 + 0.42 * len(values))
        for row, (name, look) in enumerate(looks(values).items()):
            _bar(axes, row, values[name], look)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set(title=title, xlabel=y_label)
        axes.set_xlim(0, 1.4 * max((point.high for point in values.values()), default=1))  # room for the numbers
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.grid(axis="x")
        return _save(figure, stem)


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


def timeline(runs: Sequence[Timed], stem: Path, span_ms: float | None = None) -> Files:
    """What each stage did in a window from the middle of each run, a panel for each run, all on the same scale.

    Unless `span_ms` says otherwise the windows are four steps of lockstep long, or of the slowest run.
    """
    span_ns = round(span_ms * NS_PER_MS) if span_ms is not None else STEPS_SHOWN * _step_ns(runs)
    with _drawing():
        stages = [len(spans) for _, spans in runs]
        figure, panels = _panels(0.9 + sum(0.5 + 0.3 * rows for rows in stages), rows=stages)
        shown: set[str] = set()
        for axes, (name, spans) in zip(panels, runs, strict=True):
            shown |= _panel(axes, name, window(spans, span_ns))
        panels[-1].set(xlabel="milliseconds", xlim=(0, span_ns / NS_PER_MS))
        panels[-1].tick_params(axis="x", length=3, labelbottom=True)
        _kinds_legend(figure, shown)
        return _save(figure, stem)


def window(spans: Sequence[Rows], span_ns: int) -> list[Rows]:
    """The spans of each stage in `span_ns` from the middle of the run, in ns since the window's start.

    The window begins with a forward pass of the first stage, and has no evaluation in it where that can be had.
    """
    evaluations = np.concatenate([of_kind(rows, "evaluate") for rows in spans])
    starts = of_kind(spans[0], "forward")[:, 2]
    if not len(starts):
        return [rows[:0] for rows in spans]
    starts = starts[np.argsort(np.abs(starts + span_ns // 2 - np.median(starts)), kind="stable")]
    begun = np.searchsorted(np.sort(evaluations[:, 2]), starts + span_ns)
    ended = np.searchsorted(np.sort(evaluations[:, 3]), starts, "right")
    start_ns = int(starts[np.argmax(begun == ended)])  # the first without one, or else the first
    return [slices(rows, start_ns, start_ns + span_ns) - np.array([0, 0, start_ns, start_ns]) for rows in spans]


def _step_ns(runs: Sequence[Timed]) -> int:
    """The usual time from one update of the last stage to the next, in lockstep if it is among the runs."""
    updates = {name: of_kind(spans[-1], "update") for name, spans in runs}
    steps = {name: float(np.median(np.diff(rows[:, 2]))) for name, rows in updates.items() if len(rows) > 1}
    return round(steps.get("lockstep", max(steps.values(), default=NS_PER_MS)))


def _panel(axes: "Axes", name: str, spans: Sequence[Rows]) -> set[str]:
    """Draws one run; gives the kinds of spans that are in it."""
    from matplotlib.patches import PathPatch

    axes.barh(range(len(spans)), [1], height=0.8, color=WAITING, transform=axes.get_yaxis_transform())
    shown = {KINDS[kind] for rows in spans for kind in np.unique(rows[:, 0])}
    for kind in sorted(shown, key=list(KIND_COLOURS).index):  # in one order, for the same file every time
        outline = _boxes([of_kind(rows, kind) for rows in spans])
        axes.add_patch(PathPatch(outline, facecolor=KIND_COLOURS[kind], edgecolor="white", linewidth=0.3))
    axes.set_yticks(range(len(spans)), [f"stage {stage}" for stage in range(len(spans))])
    axes.set_ylim(len(spans) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{name}: {_tally([len(of_kind(rows, 'update')) for rows in spans])}")
    return shown


def _tally(updates: Sequence[int]) -> str:
    low, high = min(updates, default=0), max(updates, default=0)
    if low == high:
        return f"{high} update{'' if high == 1 else 's'} per stage"
    return f"{low} to {high} updates per stage"


def _boxes(spans: Sequence[Rows]) -> "Outline":
    """All these spans as one outline, milliseconds across and stages down: far smaller in a file than one for each."""
    from matplotlib.path import Path as Outline

    left, right = np.concatenate([rows[:, 2:] for rows in spans]).T / NS_PER_MS
    middle = np.repeat(np.arange(len(spans)), [len(rows) for rows in spans])
    top, bottom = middle - 0.4, middle + 0.4
    corners = np.stack([left, top, right, top, right, bottom, left, bottom, left, top], axis=1).reshape(-1, 2)
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline(corners, np.tile(codes, len(middle)))


def _kinds_legend(figure: "Figure", shown: set[str]) -> None:
    from matplotlib.patches import Patch

    kinds = [kind for kind in KIND_COLOURS if kind in shown]
    patches = [Patch(color=KIND_COLOURS[kind], label=KIND_NAMES.get(kind, kind)) for kind in kinds]
    patches.append(Patch(color=WAITING, label="waiting"))
    columns = len(patches) if len(patches) <= 6 else 4  # six fill the width
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, handlelength=1.2, columnspacing=1.4)


@contextmanager
def _drawing() -> Iterator[None]:
    """Our style, for as long as a picture is drawn and saved."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def _panels(height: float, columns: int = 1, rows: Sequence[int] = (1,)) -> tuple["Figure", list["Axes"]]:
    """A figure of that height in inches, its panels in columns and in rows of these relative heights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False, sharex="col", height_ratios=rows)
    return figure, list(panels.flat)


def _save(figure: "Figure", stem: Path) -> Files:
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    figure.savefig(png, dpi=150)
    figure.savefig(svg, metadata={"Date": None})  # a date would make every file a new one
    return png, svg
