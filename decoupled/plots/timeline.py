"""The timeline: what each worker did when, workers as rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from decoupled.plots.paper import Files, drawing, panels, save
from decoupled.telemetry.spans import SPAN_KINDS, Rows, SpanKind
from decoupled.telemetry.trace import absence, of_kind, slices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

Timed: TypeAlias = tuple[str, Sequence[Rows]]  # a run's name and its stages' spans

STEPS_SHOWN = 4  # of lockstep
NS_PER_MS = 1e6

WAITING = "#ECEFF1"


def timeline(runs: Sequence[Timed], stem: Path, span_ms: float | None = None) -> Files:
    """What each stage did in a window from the middle of each run, a panel for each run, all on the same scale.

    Unless `span_ms` says otherwise the windows are four steps of lockstep long, or of the slowest run; where a worker was
    lost, long enough to see its successor come.
    """
    span_ns = round(span_ms * NS_PER_MS) if span_ms is not None else max(STEPS_SHOWN * _step_ns(runs), _absence_ns(runs))
    with drawing():
        stages = [len(spans) for _, spans in runs]
        figure, drawn = panels(0.9 + sum(0.5 + 0.3 * rows for rows in stages), rows=stages)
        shown: set[SpanKind] = set()
        for axes, (name, spans) in zip(drawn, runs, strict=True):
            shown |= _panel(axes, name, window(spans, span_ns))
        drawn[-1].set(xlabel="milliseconds", xlim=(0, span_ns / NS_PER_MS))
        drawn[-1].tick_params(axis="x", length=3, labelbottom=True)
        _kinds_legend(figure, shown)
        return save(figure, stem)


def window(spans: Sequence[Rows], span_ns: int) -> list[Rows]:
    """The spans of each stage in `span_ns` from the middle of the run, in ns since the window's start.

    The window begins with a forward pass of the first stage, and has no evaluation in it where that can be had. Where a
    stage was without a worker for a time, that is in its middle instead.
    """
    starts = of_kind(spans[0], "forward")[:, 2]
    if not len(starts):
        return [rows[:0] for rows in spans]
    absent = absence(spans)
    start_ns = _quiet_start(spans, starts, span_ns) if absent is None else (sum(absent) - span_ns) // 2
    return [slices(rows, start_ns, start_ns + span_ns) - np.array([0, 0, start_ns, start_ns]) for rows in spans]


def _quiet_start(spans: Sequence[Rows], starts: Rows, span_ns: int) -> int:
    evaluations = np.concatenate([of_kind(rows, "evaluate") for rows in spans])
    starts = starts[np.argsort(np.abs(starts + span_ns // 2 - np.median(starts)), kind="stable")]
    begun = np.searchsorted(np.sort(evaluations[:, 2]), starts + span_ns)
    ended = np.searchsorted(np.sort(evaluations[:, 3]), starts, "right")
    return int(starts[np.argmax(begun == ended)])  # the first without one, or else the first


def _step_ns(runs: Sequence[Timed]) -> int:
    """The usual time from one update of the last stage to the next, in lockstep if it is among the runs."""
    updates = {name: of_kind(spans[-1], "update") for name, spans in runs}
    steps = {name: float(np.median(np.diff(rows[:, 2]))) for name, rows in updates.items() if len(rows) > 1}
    return round(steps.get("lockstep", max(steps.values(), default=NS_PER_MS)))


def _absence_ns(runs: Sequence[Timed]) -> int:
    """The longest first absence of a worker, with some time before and after it."""
    absences = [absent for _, spans in runs if (absent := absence(spans)) is not None]
    return max((round(1.5 * (to - since)) for since, to in absences), default=0)


def _panel(axes: "Axes", name: str, spans: Sequence[Rows]) -> set[SpanKind]:
    """Draws one run; gives the kinds of spans that are in it."""
    from matplotlib.patches import PathPatch

    axes.barh(range(len(spans)), [1], height=0.8, color=WAITING, transform=axes.get_yaxis_transform())
    present = {int(number) for rows in spans for number in np.unique(rows[:, 0])}
    shown = [kind for number, kind in enumerate(SPAN_KINDS) if number in present]  # in one order, for the same file every time
    for kind in shown:
        outline = _boxes([of_kind(rows, kind.name) for rows in spans])
        axes.add_patch(PathPatch(outline, facecolor=kind.colour, edgecolor="white", linewidth=0.3))
    axes.set_yticks(range(len(spans)), [f"stage {stage}" for stage in range(len(spans))])
    axes.set_ylim(len(spans) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{name}: {_tally([len(of_kind(rows, 'update')) for rows in spans])}")
    return set(shown)


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


def _kinds_legend(figure: "Figure", shown: set[SpanKind]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=kind.colour, label=kind.label or kind.name) for kind in SPAN_KINDS if kind in shown]
    patches.append(Patch(color=WAITING, label="waiting"))
    columns = len(patches) if len(patches) <= 6 else 4  # six fill the width
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, handlelength=1.2, columnspacing=1.4)
