"""ActivityTimeline: what the workers did of late, in cells of 5 ms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.telemetry.activity import CELL_NS, KEPT, LAG, ActivityTimeline, Bins, cells
from decoupled.telemetry.spans import Rows
from tests.telemetry.spans import spans

MS = CELL_NS // 5


def report(strips: ActivityTimeline, stage: int, rows: Rows, at_ns: int, late_ns: int = 0) -> None:
    """A worker's report that arrives at once, by a clock that is so much ahead of the worker's."""
    strips.add(stage, rows, at_ns, at_ns + late_ns)


def texts(strips: ActivityTimeline, count: int) -> list[str]:
    return [text[-2 * count :] for text in strips.view().texts]


@pytest.mark.parametrize(
    ("edges", "text"),
    [
        ([], ".0.0.0"),
        ([(0, 15 * MS)], "F9F9F9"),
        ([(0, 5 * MS)], "F9.0.0"),
        ([(4 * MS, 11 * MS)], "F2F9F2"),
        ([(0, 2 * MS), (3 * MS, 5 * MS), (12 * MS, 13 * MS)], "F8.0F2"),
        ([(-5 * MS, 1 * MS), (14 * MS, 40 * MS)], "F2.0F2"),
    ],
)
def test_a_cell_says_how_much_of_it_the_worker_computed(edges: list[tuple[int, int]], text: str) -> None:
    assert cells(spans(*edges), 0, 3) == text


def test_a_cell_has_the_letter_of_what_took_most_of_its_time() -> None:
    rows = np.concatenate([spans((0, 2 * MS)), spans((2 * MS, 5 * MS), kind="synthetic"), spans((5 * MS, 6 * MS), kind="refine")])

    assert cells(rows, 0, 2) == "S9R2"


@given(st.lists(st.integers(1, 20), min_size=2, max_size=60).filter(lambda steps: len(steps) % 2 == 0), st.integers(1, 40))
def test_it_does_not_matter_when_a_worker_reports(steps: list[int], every: int) -> None:
    """The same spans reported at once, and whenever one ends after so many milliseconds."""
    edges = np.cumsum([1000, *steps])[1:].reshape(-1, 2) * MS
    rows = spans(*((int(start), int(end)) for start, end in edges))
    whole, parts = ActivityTimeline(1), ActivityTimeline(1)

    report(whole, 0, rows, int(rows[-1, 3]))
    due, done = every, 0
    for number, row in enumerate(rows):
        if row[3] >= due * MS or number == len(rows) - 1:
            report(parts, 0, rows[done : number + 1], int(row[3]))
            due, done = int(row[3]) // MS + every, number + 1

    assert parts.view() == whole.view()


def test_all_workers_are_shown_up_to_what_every_one_has_reported() -> None:
    strips = ActivityTimeline(2)

    report(strips, 0, spans((0, 4 * CELL_NS)), 4 * CELL_NS)
    report(strips, 1, spans((0, 2 * CELL_NS)), 2 * CELL_NS)

    assert strips.view() == Bins(2, ("F9F9", "F9F9"))


def test_a_worker_that_does_not_report_is_not_waited_for_for_long() -> None:
    strips = ActivityTimeline(2)
    for stage in (0, 1):
        report(strips, stage, spans((0, CELL_NS)), CELL_NS)

    report(strips, 0, spans((CELL_NS, 1000 * CELL_NS)), 1000 * CELL_NS)

    assert strips.view().end == 1000 - LAG
    assert texts(strips, 2) == ["F9F9", "?0?0"]


def test_the_time_without_a_worker_is_marked_while_it_lasts() -> None:
    strips = ActivityTimeline(2)
    for stage in (0, 1):
        report(strips, stage, spans((0, CELL_NS)), CELL_NS)

    strips.leave(1, 2 * CELL_NS)
    report(strips, 0, spans((CELL_NS, 4 * CELL_NS)), 4 * CELL_NS)
    during = texts(strips, 4)
    strips.come_back(1, 5 * CELL_NS)
    report(strips, 1, spans((5 * CELL_NS, 6 * CELL_NS), kind="refine"), 6 * CELL_NS)
    report(strips, 0, spans((4 * CELL_NS, 6 * CELL_NS)), 6 * CELL_NS)

    assert during == ["F9F9F9F9", "F9?0x0x0"]
    assert texts(strips, 6)[1] == "F9?0x0x0x0R9"


def test_only_the_last_cells_are_kept() -> None:
    strips = ActivityTimeline(1)

    for number in range(3):
        report(strips, 0, spans((number * KEPT * CELL_NS, (number + 1) * KEPT * CELL_NS)), (number + 1) * KEPT * CELL_NS)

    assert strips.view() == Bins(3 * KEPT, ("F9" * KEPT,))


def test_cells_since_one_are_those_after_it() -> None:
    assert Bins(7, ("F1F2", "B1B2")).since(6) == ("F2", "B2")
    assert Bins(7, ("F1F2", "B1B2")).since(0) == ("F1F2", "B1B2")
    assert Bins(7, ("F1F2", "B1B2")).since(7) == ("", "")


@pytest.mark.parametrize("behind_s", [-3600, -1, 1, 3600])
def test_a_host_whose_clock_is_wrong_is_shown_when_it_was(behind_s: int) -> None:
    """Bins are those of the coordinator's clock, and reports take a few milliseconds."""
    strips, second = ActivityTimeline(2), 200 * CELL_NS
    behind = behind_s * second

    for number in range(4000, 4003):
        at = number * second
        report(strips, 0, spans((at - second, at)), at)
        report(strips, 1, spans((at - behind - second, at - behind)), at - behind, late_ns=behind + (4003 - number) * MS)

    assert strips.view().end >= 4002 * 200 - 1
    assert texts(strips, 200)[1].count("F9") >= 198


def test_a_successor_whose_clock_is_a_little_behind_begins_a_little_later() -> None:
    strips = ActivityTimeline(1)
    report(strips, 0, spans((0, CELL_NS)), CELL_NS)

    strips.leave(0, 2 * CELL_NS)
    strips.come_back(0, 50 * CELL_NS)
    report(strips, 0, spans((45 * CELL_NS, 48 * CELL_NS)), 48 * CELL_NS)
    report(strips, 0, spans((48 * CELL_NS, 52 * CELL_NS)), 52 * CELL_NS)

    assert texts(strips, 3) == ["x0F9F9"]


def test_what_has_been_shown_is_not_shown_again_when_a_worker_begins_late() -> None:
    strips = ActivityTimeline(2)
    report(strips, 0, spans((0, 2 * LAG * CELL_NS)), 2 * LAG * CELL_NS)
    strips.leave(1, CELL_NS)
    before = strips.view().end

    strips.come_back(1, 2 * LAG * CELL_NS)

    assert strips.view().end == before
