"""The pace of a link: a queue as short as keeps the neighbour busy, found by what waits there."""

import pytest

from decoupled.schedules.actions import Backward, Forward, Source, Update
from decoupled.schedules.dni import Dni
from decoupled.schedules.events import ActivationArrived
from decoupled.schedules.links import UpstreamLink
from decoupled.schedules.pace import SPARE, Pace
from decoupled.simulator.network import Costs, Link
from decoupled.simulator.timeline import Forecast, simulate


def rounds(pace: Pace, waiting: int, in_flight: int, count: int = 1) -> int:
    """So many rounds in which each credit finds the same."""
    for _ in range(count):
        for _ in range(pace.limit):
            pace.credited(1, waiting, in_flight)
    return pace.limit


def test_it_begins_with_all_that_the_inbox_holds() -> None:
    assert Pace(8).limit == 8


def test_what_always_waited_was_never_needed() -> None:
    assert rounds(Pace(8), waiting=5, in_flight=8) == 8 - (5 - SPARE)


def test_one_that_waits_is_enough() -> None:
    pace = Pace(8)
    assert rounds(pace, waiting=SPARE, in_flight=8, count=5) == 8


def test_the_least_that_waited_in_a_round_decides() -> None:
    pace = Pace(4)
    for waiting in (3, 0, 3, 3):
        pace.credited(1, waiting, in_flight=2)
    assert pace.limit == 4


def test_a_neighbour_that_runs_dry_is_sent_more_but_never_more_than_fits() -> None:
    pace = Pace(8)
    rounds(pace, waiting=7, in_flight=8)
    before = pace.limit

    assert rounds(pace, waiting=0, in_flight=before) == before + 1
    assert rounds(pace, waiting=0, in_flight=8, count=20) == 8


def test_a_sender_that_is_slow_itself_is_not_given_more() -> None:
    pace = Pace(8)
    before = rounds(pace, waiting=7, in_flight=8)

    assert rounds(pace, waiting=0, in_flight=before - 1) == before


def test_it_never_stops_a_link() -> None:
    pace = Pace(2)
    assert rounds(pace, waiting=50, in_flight=2, count=3) == 1


@pytest.mark.parametrize(("is_paced", "told"), [(True, [1, 1, 1, 1]), (False, [2, 2])])
def test_room_is_told_at_once_where_nothing_waits_and_otherwise_in_twos(is_paced: bool, told: list[int]) -> None:
    link, granted = UpstreamLink(is_paced), []
    for m in range(4):
        link.receive(ActivationArrived(m))
        link.take()
        granted.append(link.grant(together=2))

    assert [credit.count for credit in granted if credit is not None] == told


def simulated(latency: float, window: int) -> Forecast:
    costs = Costs(1, 1, 1, synthesize=0.1)
    return simulate(lambda place: Dni(place, 4, 24, "chained"), 4, 600, costs, window=window, link=Link(latency))


def staleness(forecast: Forecast, stage: int) -> float:
    """Updates between a forward pass and the use of its true gradient, in the second half of the run."""
    version, before, ages = 0, dict[int, int](), list[int]()
    for action in (slot.action for slot in forecast.slots if slot.stage == stage):
        match action:
            case Forward(m):
                before[m] = version
            case Update():
                version += 1
            case Backward(m, Source.TRUE):
                ages.append(version - before[m])
    return sum(ages[len(ages) // 2 :]) / (len(ages) - len(ages) // 2)


@pytest.mark.parametrize("window", [8, 32])
def test_on_fast_links_gradients_are_young_however_large_the_inbox(window: int) -> None:
    """Each of the three stages below holds one microbatch at work and one that waits."""
    forecast = simulated(latency=0, window=window)

    assert forecast.utilisation > 0.94
    assert staleness(forecast, 0) <= 7


def test_on_slow_links_as_much_is_sent_ahead_as_they_need() -> None:
    few, many = (simulated(latency=20, window=window).utilisation for window in (8, 32))

    assert few < 0.5
    assert many > 0.75
