"""The paper: the size and style of every picture, its panels, and its two files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Files: TypeAlias = tuple[Path, Path]  # PNG, SVG

WIDTH = 9.0  # inches; a README shows them at about 800 pixels

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


@contextmanager
def drawing() -> Iterator[None]:
    """Our style, for as long as a picture is drawn and saved."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def panels(height: float, columns: int = 1, rows: Sequence[int] = (1,)) -> tuple["Figure", list["Axes"]]:
    """A figure of that height in inches, its panels in columns and in rows of these relative heights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False, sharex="col", height_ratios=rows)
    return figure, list(panels.flat)


def save(figure: "Figure", stem: Path) -> Files:
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    figure.savefig(png, dpi=150)
    figure.savefig(svg, metadata={"Date": None})  # a date would make every file a new one
    return png, svg
