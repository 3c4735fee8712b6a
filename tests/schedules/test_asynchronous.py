"""async1f1b, action by action: no flush, an update for each gradient, and as many in flight as there are stages left."""

import pytest

from decoupled.schedules.catalogue import async1f1b
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    FeedEnded,
    FenceArrived,
    GradientArrived,
    MarkerArrived,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.interface import Place
from decoupled.simulator.network import Costs, Link
from decoupled.simulator.timeline import simulate
from tests.schedules.driving import arrivals, drain, named, tell

NEIGHBOUR = PeerJoined(window=8)
FIRST, SECOND, LAST = Place(0, 3), Place(1, 3), Place(2, 3)


@pytest.mark.parametrize(
    ("place", "extra", "actions"), [(FIRST, 0, "F0 F1 F2"), (SECOND, 0, "F0 F1"), (SECOND, 2, "F0 F1 F2 F3")]
)
def test_a_stage_is_as_far_ahead_as_there_are_stages_left_and_no_further(place: Place, extra: int, actions: str) -> None:
    assert drain(tell(async1f1b(place, extra), NEIGHBOUR, *arrivals(0, 1, 2, 3, 4))) == actions


def test_every_gradient_makes_an_update_and_room_for_the_next_microbatch() -> None:
    schedule = tell(async1f1b(SECOND), NEIGHBOUR, *arrivals(0, 1, 2, 3))
    assert drain(schedule) == "F0 F1"

    assert drain(tell(schedule, GradientArrived(0))) == "B0 U F2"
    assert drain(tell(schedule, GradientArrived(1), GradientArrived(2))) == "B1 U B2 U F3"


def test_the_last_stage_has_its_gradients_at_once() -> None:
    assert drain(tell(async1f1b(LAST, extra=4), *arrivals(0, 1))) == "F0 B0 U F1 B1 U"


def test_gradients_are_used_in_the_order_of_their_microbatches() -> None:
    schedule = tell(async1f1b(FIRST), NEIGHBOUR, *arrivals(0, 1))
    assert drain(schedule) == "F0 F1"

    assert drain(tell(schedule, GradientArrived(1))) == ""
    assert drain(tell(schedule, GradientArrived(0))) == "B0 U B1 U"


def test_a_marker_and_an_evaluation_wait_for_what_is_in_flight() -> None:
    schedule = tell(async1f1b(FIRST), NEIGHBOUR, *arrivals(0), MarkerArrived(0), ActivationArrived(1, training=False))
    assert drain(schedule) == "F0"

    assert drain(tell(schedule, GradientArrived(0))) == "B0 U M0 E1"


def test_nothing_is_sent_without_room_or_to_a_neighbour_that_is_lost() -> None:
    schedule = tell(async1f1b(FIRST), PeerJoined(window=1), *arrivals(0, 1))
    assert drain(schedule) == "F0"
    assert drain(tell(schedule, CreditGranted(1), PeerLost(), CreditGranted(1))) == ""


def test_it_ends_when_all_has_come_back() -> None:
    schedule = tell(async1f1b(FIRST), NEIGHBOUR, *arrivals(0), FeedEnded())
    assert (drain(schedule), schedule.finished) == ("F0 Z", False)

    assert (drain(tell(schedule, GradientArrived(0))), schedule.finished) == ("B0 U", True)


def test_a_fence_is_refused() -> None:
    with pytest.raises(ValueError, match="fence"):
        tell(async1f1b(FIRST), FenceArrived(0))


@pytest.mark.parametrize("stages", [1, 2, 4, 8])
def test_there_is_no_bubble_but_for_filling_and_draining(stages: int) -> None:
    """M microbatches of cost 3 take 3 M, and the first one's way down and the last one's way up."""
    forecast = simulate(named("async1f1b"), stages, 200, Costs(1, 2, 0))

    assert forecast.makespan == pytest.approx(200 * 3 + (stages - 1) * 3)
    assert forecast.peak_stash == tuple(stages - stage for stage in range(stages))


def test_more_in_flight_cover_slow_links() -> None:
    """A gradient of stage 0 takes the forward passes and messages down, and the backward passes and messages up."""
    costs, link = Costs(1, 2, 0), Link(3)
    few, many = (simulate(lambda p, extra=n: async1f1b(p, extra), 4, 300, costs, window=16, link=link) for n in (0, 8))  # type: ignore[misc]

    assert few.utilisation < 0.5
    assert many.utilisation > 0.95
