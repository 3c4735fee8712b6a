"""dni with adaptive feedback, action by action: truth where it is in time, and guesses instead of waiting."""

import pytest

from decoupled.schedules.actions import Backward, Forward, Source
from decoupled.schedules.dni import Dni
from decoupled.schedules.events import (
    ActivationArrived,
    Event,
    FeedEnded,
    GradientArrived,
    GradientsEnded,
    MarkerArrived,
    PeerFinished,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.interface import Place
from decoupled.simulator.network import Costs, Link
from decoupled.simulator.timeline import Forecast, simulate
from tests.schedules.driving import arrivals, drain, tell

FIRST, MIDDLE, LAST = Place(0, 3), Place(1, 3), Place(2, 3)
NEIGHBOUR = PeerJoined(window=9)


def adaptive(place: Place, stash_max: int = 2, share: float = 1.0) -> Dni:
    return Dni(place, stash_max=stash_max, feedback="adaptive", share=share)


def wanted(*microbatches: int) -> list[Event]:
    return [ActivationArrived(m, wants_gradient=True) for m in microbatches]


def test_each_microbatch_is_kept_while_the_stash_has_room_and_guessed_otherwise() -> None:
    schedule = tell(adaptive(FIRST), NEIGHBOUR, *arrivals(0, 1, 2))
    assert drain(schedule) == "F0 F1 ?1 F2 S2 U"

    assert drain(tell(schedule, GradientArrived(0), *arrivals(3))) == "B0 U R0 F3"


def test_only_a_share_is_kept_where_that_is_bounded() -> None:
    schedule = tell(adaptive(FIRST, stash_max=9, share=0.5), NEIGHBOUR, *arrivals(0, 1, 2, 3))

    assert drain(schedule) == "F0 S0 U F1 F2 S2 U F3"


def test_the_activation_says_which_are_kept() -> None:
    schedule = tell(adaptive(FIRST, stash_max=1), NEIGHBOUR, *arrivals(0, 1))
    performed = []
    while (action := schedule.next_action()) is not None:
        performed.append(action)

    assert [a.wants_gradient for a in performed if isinstance(a, Forward)] == [True, False]


@pytest.mark.parametrize("place", [MIDDLE, LAST])
def test_a_gradient_goes_up_for_those_that_want_it(place: Place) -> None:
    """Also from a stage that guesses itself: then it is the one that follows from its guess."""
    schedule = tell(adaptive(place, stash_max=1), NEIGHBOUR, *wanted(0), *arrivals(1), *wanted(2))
    performed = []
    for _ in range(2):
        while (action := schedule.next_action()) is not None:
            performed.append(action)
        tell(schedule, GradientArrived(0))

    assert {a.microbatch: a.send for a in performed if isinstance(a, Backward)} == {0: True, 1: False, 2: True}


def test_gradients_may_come_in_any_order() -> None:
    """A stage below that has no room guesses at once, and so a younger microbatch's gradient may be the first."""
    schedule = tell(adaptive(FIRST), NEIGHBOUR, *arrivals(0, 1))
    assert drain(schedule) == "F0 F1"

    assert drain(tell(schedule, GradientArrived(1))) == "B1 U R1"
    assert drain(tell(schedule, GradientArrived(0))) == "B0 U R0"


def test_lost_gradients_are_found_by_a_fence_while_training_goes_on() -> None:
    """Or they would take up the stash for good, and nothing would be kept for a true gradient any more."""
    schedule = tell(adaptive(FIRST, stash_max=1), NEIGHBOUR, *arrivals(0, 1, 2))
    assert drain(schedule) == "F0 ?0 F1 S1 U F2 S2 U"

    assert drain(tell(schedule, GradientsEnded(0), *arrivals(3))) == "S0 U X0 F3"


def test_a_marker_waits_for_what_is_kept() -> None:
    schedule = tell(adaptive(FIRST), NEIGHBOUR, *arrivals(0), MarkerArrived(0))
    assert drain(schedule) == "F0 ?0"

    assert drain(tell(schedule, GradientArrived(0))) == "B0 U R0 M0"


def test_a_full_stash_asks_after_its_gradients_and_does_not_wait() -> None:
    schedule = tell(adaptive(FIRST, stash_max=1), PeerJoined(window=2), *arrivals(0, 1, 2))
    assert drain(schedule) == "F0 ?0 F1 S1 U"  # there is no room to send 2


def test_a_lost_neighbour_leaves_guesses() -> None:
    schedule = tell(adaptive(FIRST), NEIGHBOUR, *arrivals(0))
    assert drain(schedule) == "F0"

    assert drain(tell(schedule, PeerLost(), *arrivals(1))) == "S0 U X0 F1 S1 U"


def test_it_ends_when_every_kept_one_is_settled() -> None:
    schedule = tell(adaptive(FIRST), NEIGHBOUR, *arrivals(0), FeedEnded())
    assert (drain(schedule), schedule.finished) == ("F0 Z", False)

    assert (drain(tell(schedule, PeerFinished())), schedule.finished) == ("S0 U X0", True)


def truth(forecast: Forecast, stage: int) -> float:
    """The share of a stage's backward passes from a gradient that came back, in the second half of the run."""
    passes = [slot.action.source for slot in forecast.slots if slot.stage == stage and isinstance(slot.action, Backward)]
    late = passes[len(passes) // 2 :]
    return late.count(Source.TRUE) / len(late)


def run(latency: float, stash_max: int = 8, share: float = 1.0, window: int = 64) -> Forecast:
    costs = Costs(1, 1, 1, synthesize=0.1)
    return simulate(lambda place: adaptive(place, stash_max, share), 4, 1500, costs, window=window, link=Link(latency))


def test_on_fast_links_all_gradients_are_true_and_no_time_is_lost() -> None:
    forecast = run(latency=0)

    assert [truth(forecast, stage) for stage in range(4)] == [1.0] * 4
    assert forecast.utilisation > 0.9


def test_the_slower_the_links_the_more_is_guessed_and_the_stages_go_on() -> None:
    shares, busy = zip(*((truth(forecast, 0), forecast.utilisation) for forecast in map(run, (0, 3, 10, 30))), strict=True)

    assert list(shares) == sorted(shares, reverse=True)
    assert shares[-1] < 0.3
    assert min(busy) > 0.7


def test_a_larger_stash_brings_more_truth_over_slow_links() -> None:
    shares = [truth(run(latency=10, stash_max=stash_max), 0) for stash_max in (4, 8, 16, 64)]

    assert shares == sorted(shares)
    assert shares[-1] > 0.9


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_share_is_bounded_on_fast_links(share: float) -> None:
    forecast = run(latency=0, share=share)

    assert [truth(forecast, stage) for stage in range(3)] == pytest.approx([share] * 3, abs=0.02)
