"""Pictures: both files are there, say what they should, and show the right part of a run."""

import math
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from decoupled.plots import Point, bars, curves, learning, timeline
from decoupled.plots.charts import looks, number
from decoupled.plots.timeline import window
from decoupled.telemetry.spans import KINDS, Rows

MS = 1_000_000  # ns


@pytest.fixture(autouse=True, scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """matplotlib opens its fonts with the first picture and keeps them open: not a leak of the test that is first."""
    curves(tmp_path_factory.mktemp("first"), "title", "x", "y", {"dni": [Point(1, 1, 1, 1)]})


def texts(files: tuple[Path, Path], stem: Path) -> list[str]:
    """What is written in the SVG, in order; asserts that both files are what and where they should be."""
    png, svg = files
    assert (png, svg) == (Path(f"{stem}.png"), Path(f"{stem}.svg"))
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    content = svg.read_text()
    assert "<dc:date>" not in content
    return re.findall(r"<text[^>]*>([^<]*)</text>", content)


def stage(steps: int, length_ms: float, evaluates: Mapping[int, int] = {}) -> Rows:
    """Steps of a forward pass, a backward pass and an update, which fill their time; `evaluates` says before which."""
    rows: list[tuple[int, int, float, float]] = []
    at = 0.0
    for m in range(steps):
        for _ in range(evaluates.get(m, 0)):
            rows.append((KINDS.index("evaluate"), m, at, at + 1))
            at += 1
        for kind, microbatch, share in (("forward", m, 0.3), ("backward", m, 0.6), ("update", -1, 0.1)):
            rows.append((KINDS.index(kind), microbatch, at, at + share * length_ms))
            at += share * length_ms
    return np.array([(kind, m, round(start * MS), round(end * MS)) for kind, m, start, end in rows], np.int64)


def test_a_timeline_has_a_panel_per_run_in_their_order(tmp_path: Path) -> None:
    stem = tmp_path / "new" / "timeline.v2"
    written = texts(timeline([("lockstep", [stage(40, 10)] * 4), ("dni", [stage(200, 2)] * 3)], stem), stem)

    titles = [text for text in written if "updates" in text]
    assert titles == ["lockstep: 4 updates per stage", "dni: 20 updates per stage"]
    assert [text for text in written if text.startswith("stage")] == [f"stage {i}" for i in (0, 1, 2, 3, 0, 1, 2)]
    assert written[-4:] == ["forward", "backward, true gradient", "update", "waiting"]
    assert "milliseconds" in written
    assert "40" in written, "four steps of lockstep, of 10 ms each, on the axis"


def test_a_timeline_is_as_long_as_asked(tmp_path: Path) -> None:
    runs = [("dni", [stage(100, 2), stage(50, 4)])]

    assert "dni: 3 to 5 updates per stage" in texts(timeline(runs, tmp_path / "t", span_ms=10), tmp_path / "t")


def test_the_slowest_run_sets_the_length_where_lockstep_is_missing(tmp_path: Path) -> None:
    runs = [("dni", [stage(100, 2)]), ("single", [stage(50, 5)])]
    written = texts(timeline(runs, tmp_path / "t"), tmp_path / "t")

    assert [text for text in written if "updates" in text] == ["dni: 10 updates per stage", "single: 4 updates per stage"]


def test_a_run_without_spans_is_an_empty_panel(tmp_path: Path) -> None:
    nothing = np.empty((0, 4), np.int64)

    assert "dni: 0 updates per stage" in texts(timeline([("dni", [nothing, nothing])], tmp_path / "t"), tmp_path / "t")


def test_the_window_is_in_the_middle_and_begins_with_a_forward_pass() -> None:
    (seen,) = window([stage(101, 10)], 40 * MS)

    assert seen[0].tolist() == [KINDS.index("forward"), 48, 0, 3 * MS]
    assert seen[-1, 3] == 40 * MS


def test_the_window_keeps_away_from_evaluations() -> None:
    """They lie right in the middle of the run, on another stage than the first."""
    spans = [stage(101, 10), stage(101, 10, evaluates={49: 5})]
    seen = window(spans, 40 * MS)

    assert seen[0][0, 1] in (45, 50)
    assert not np.isin(seen[1][:, 0], KINDS.index("evaluate")).any()


def test_a_short_run_with_evaluations_everywhere_is_shown_all_the_same() -> None:
    (seen,) = window([stage(3, 10, evaluates={0: 1, 1: 1, 2: 1})], 40 * MS)

    assert len(seen)


def test_curves_name_their_series_and_mark_their_points(tmp_path: Path) -> None:
    series = {"dni": [Point(4, 3.5, 3.4, 3.6), Point(1, 1, 1, 1)], "torch gpipe": [Point(2, 1.5, 1.2, 1.6)]}
    stem = tmp_path / "c"
    written = texts(curves(stem, "Speed-up", "workers", "times", series, ideal=[(1, 1), (4, 4)]), stem)

    assert {"Speed-up", "workers", "times", "dni", "torch gpipe", "ideal"} <= set(written)
    assert written[:3] == ["1", "2", "4"]
    assert "0" in written or "0.0" in written, "y begins at 0"


def test_learning_shows_loss_and_error_and_the_target(tmp_path: Path) -> None:
    losses = {"lockstep": [Point(1, 0.5, 0.4, 0.6), Point(2, 0.1, 0.1, 0.2)], "dni": [Point(1, 0.2, 0.2, 0.2)]}
    errors = {"lockstep": [Point(1, 10, 9, 11), Point(2, 3, 3, 3)], "dni": [Point(0.5, 9, 8, 10), Point(1, 0, 0, 0)]}
    written = texts(learning(tmp_path / "l", "Digits", losses, errors, target=0.95), tmp_path / "l")

    assert {"Digits", "test loss", "test error, %", "seconds of training"} <= set(written)
    assert written[-3:] == ["lockstep", "dni", "target"]
    assert {"0.1", "0.5", "5"} <= set(written), "the scales have plain numbers"


@pytest.mark.parametrize("loss", [0.0, math.nan])
def test_learning_without_any_positive_number_is_still_a_picture(tmp_path: Path, loss: float) -> None:
    losses = {"dni": [Point(1, loss, loss, loss), Point(2, loss, loss, loss)]}
    errors = {"dni": [Point(1, 0, 0, 0), Point(2, 0, 0, 0)]}

    assert "dni" in texts(learning(tmp_path / "l", "Perfect, or lost", losses, errors, target=0.99), tmp_path / "l")


def test_bars_have_their_numbers_beside_them(tmp_path: Path) -> None:
    values = {"dni": Point(0, 11600, 11300, 12400), "lockstep": Point(0, 5500, 5500, 5500)}
    written = texts(bars(tmp_path / "b", "Rates", "samples per second", values), tmp_path / "b")

    assert {"Rates", "samples per second", "5,500"} <= set(written)
    assert any(text.split() == ["11,600", "(11,300", "to", "12,400)"] for text in written)
    assert written.index("dni") < written.index("lockstep")


def test_numbers_have_three_digits_or_are_whole() -> None:
    assert [number(x) for x in (0, 0.98765, 1.953, 47.11, 999, 12345.6)] == ["0", "0.988", "1.95", "47.1", "999", "12,346"]


def test_a_schedule_looks_the_same_in_every_picture() -> None:
    assert looks(["dni", "single"])["dni"] == looks(["lockstep", "dni, 4 workers"])["dni, 4 workers"]
    ours, theirs = looks(["gpipe", "PyTorch gpipe"]).values()
    assert ours.colour == theirs.colour
    assert (ours.is_peer, theirs.is_peer) == (False, True)


def test_series_in_one_picture_look_different() -> None:
    names = ["single", "lockstep", "gpipe", "1f1b", "dni", "torch", "torch-single", "torch gpipe", "dni, 2 workers", "other"]

    assert len(set(looks(names).values())) == len(names)


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    runs = [("lockstep", [stage(20, 10)] * 2)]
    first, second = timeline(runs, tmp_path / "a"), timeline(runs, tmp_path / "b")

    assert first[1].read_bytes() == second[1].read_bytes()


def test_a_long_timeline_stays_small(tmp_path: Path) -> None:
    """Twelve hundred spans."""
    _, svg = timeline([("dni", [stage(500, 1)] * 4)], tmp_path / "t", span_ms=100)

    assert svg.stat().st_size < 150_000


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, decoupled.plots; sys.exit('matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_stage_without_a_worker_is_in_the_middle_of_the_window() -> None:
    stages = [stage(40, 10), stage(40, 10)]
    since, to = 200 * MS, 260 * MS
    stages[1] = np.concatenate([stages[1], [[KINDS.index("absent"), -1, since, to]]])

    seen = window(stages, 100 * MS)

    absent = seen[1][seen[1][:, 0] == KINDS.index("absent")]
    assert absent.tolist() == [[KINDS.index("absent"), -1, 20 * MS, 80 * MS]]
