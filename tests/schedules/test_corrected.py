"""dni with corrected feedback, action by action: an update at once, and what its guess missed with a later one."""

import pytest

from decoupled.schedules.actions import Backward, Source
from decoupled.schedules.dni import Dni
from decoupled.schedules.events import (
    ActivationArrived,
    Event,
    FeedEnded,
    FenceArrived,
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


def corrected(place: Place, stash_max: int = 2, share: float = 1.0) -> Dni:
    return Dni(place, stash_max=stash_max, feedback="corrected", share=share)


def wanted(*microbatches: int) -> list[Event]:
    return [ActivationArrived(m, wants_gradient=True) for m in microbatches]


def test_no_update_waits_and_what_the_guess_missed_goes_with_the_next_one() -> None:
    schedule = tell(corrected(FIRST), NEIGHBOUR, *arrivals(0, 1))
    assert drain(schedule) == "F0 T0 U F1 T1 U"

    assert drain(tell(schedule, GradientArrived(0), *arrivals(2))) == "C0 R0 F2 T2 U"


def test_without_room_in_the_stash_the_guess_stays() -> None:
    schedule = tell(corrected(FIRST, stash_max=1), NEIGHBOUR, *arrivals(0, 1))

    assert drain(schedule) == "F0 T0 U ?0 F1 S1 U"


def test_only_a_share_is_corrected_where_that_is_bounded() -> None:
    schedule = tell(corrected(FIRST, stash_max=9, share=0.5), NEIGHBOUR, *arrivals(0, 1, 2, 3))

    assert drain(schedule) == "F0 S0 U F1 T1 U F2 S2 U F3 T3 U"


@pytest.mark.parametrize("place", [MIDDLE, LAST])
def test_a_gradient_goes_up_once_it_is_whole_for_those_that_want_it(place: Place) -> None:
    schedule = tell(corrected(place), NEIGHBOUR, *wanted(0), *arrivals(1))
    performed = []
    for event in (GradientArrived(0), GradientArrived(1)):
        while (action := schedule.next_action()) is not None:
            performed.append(action)
        tell(schedule, event)
    while (action := schedule.next_action()) is not None:
        performed.append(action)

    passes = [a for a in performed if isinstance(a, Backward) and a.send]
    sent = [(a.microbatch, a.source) for a in passes if a.source is not Source.TENTATIVE]
    assert sent == [(0, Source.TRUE if place.is_last else Source.CORRECTION)]


def test_markers_and_evaluations_wait_for_nothing() -> None:
    schedule = tell(corrected(FIRST), NEIGHBOUR, *arrivals(0), MarkerArrived(0), ActivationArrived(1, training=False))

    assert drain(schedule) == "F0 T0 U M0 E1"


def test_a_fence_is_answered_behind_the_gradients_that_still_go_up() -> None:
    schedule = tell(corrected(MIDDLE), NEIGHBOUR, *wanted(0), FenceArrived(0))
    assert drain(schedule) == "F0 T0 U ?0"

    assert drain(tell(schedule, GradientArrived(0))) == "C0 R0 !0"


def test_lost_gradients_leave_guesses() -> None:
    schedule = tell(corrected(FIRST, stash_max=1), NEIGHBOUR, *arrivals(0, 1))
    drain(schedule)
    assert drain(tell(schedule, GradientsEnded(0), *arrivals(2))) == "X0 F2 T2 U"

    assert drain(tell(schedule, PeerLost(), *arrivals(3))) == "X2 F3 S3 U"


def test_it_ends_when_every_kept_one_is_settled() -> None:
    schedule = tell(corrected(FIRST), NEIGHBOUR, *arrivals(0), FeedEnded())
    assert (drain(schedule), schedule.finished) == ("F0 T0 U Z", False)

    assert (drain(tell(schedule, PeerFinished())), schedule.finished) == ("X0", True)


def run(latency: float) -> Forecast:
    costs = Costs(1, 1, 1, synthesize=0.1)
    return simulate(lambda place: corrected(place, stash_max=8), 4, 1500, costs, window=64, link=Link(latency))


def corrections(forecast: Forecast) -> float:
    """Their share of the first stage's updates, in the second half of the run."""
    passes = [slot.action.source for slot in forecast.slots if slot.stage == 0 and isinstance(slot.action, Backward)]
    late = passes[len(passes) // 2 :]
    return late.count(Source.CORRECTION) / (len(late) - late.count(Source.CORRECTION))


def test_the_slower_the_links_the_fewer_guesses_are_corrected_and_the_stages_go_on() -> None:
    shares, busy = zip(*((corrections(forecast), forecast.utilisation) for forecast in map(run, (0, 3, 10, 30))), strict=True)

    assert list(shares) == sorted(shares, reverse=True)
    assert shares[0] > 0.95
    assert shares[-1] < 0.3
    assert min(busy) > 0.7
