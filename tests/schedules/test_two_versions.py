"""2bw, action by action: no flush, an update for each minibatch, and microbatches of at most two minibatches in flight."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled.schedules.actions import Backward, Forward, Update
from decoupled.schedules.catalogue import two_versions
from decoupled.schedules.events import ActivationArrived, Event, FeedEnded, GradientArrived, MarkerArrived, PeerJoined
from decoupled.schedules.interface import Place
from decoupled.simulator.network import Costs, Link
from decoupled.simulator.timeline import simulate
from tests.schedules.driving import drain, named, tell

NEIGHBOUR = PeerJoined(window=16)
FIRST, LAST = Place(0, 4), Place(3, 4)


def halves(*microbatches: int) -> list[Event]:
    """Microbatches of which two make a minibatch."""
    return [ActivationArrived(m, ends_minibatch=m % 2 == 1) for m in microbatches]


def gradients(*microbatches: int) -> list[Event]:
    return [GradientArrived(m) for m in microbatches]


def test_an_update_follows_the_last_gradient_of_a_minibatch_and_others_go_on_meanwhile() -> None:
    schedule = tell(two_versions(FIRST), NEIGHBOUR, *halves(0, 1, 2, 3, 4, 5))
    assert drain(schedule) == "F0 F1 F2 F3"

    assert drain(tell(schedule, *gradients(0))) == "B0", "4 is of a third minibatch, while the first is out"
    assert drain(tell(schedule, *gradients(1))) == "B1 U F4 F5"
    assert drain(tell(schedule, *gradients(2, 3))) == "B2 B3 U"


def test_the_last_stage_has_its_gradients_at_once() -> None:
    assert drain(tell(two_versions(LAST, extra=4), *halves(0, 1, 2, 3))) == "F0 B0 F1 B1 U F2 B2 F3 B3 U"


def test_more_may_be_ahead_of_two_minibatches_at_most() -> None:
    assert drain(tell(two_versions(Place(0, 2), extra=1), NEIGHBOUR, *halves(0, 1, 2, 3, 4))) == "F0 F1 F2"
    assert drain(tell(two_versions(Place(0, 2), extra=9), NEIGHBOUR, *halves(0, 1, 2, 3, 4))) == "F0 F1 F2 F3"


def test_a_marker_and_an_evaluation_wait_for_what_is_in_flight() -> None:
    schedule = tell(two_versions(FIRST), NEIGHBOUR, *halves(0, 1), MarkerArrived(1), ActivationArrived(2, training=False))
    assert drain(schedule) == "F0 F1"

    assert drain(tell(schedule, *gradients(0, 1))) == "B0 B1 U M1 E2"


def test_it_ends_when_all_has_come_back() -> None:
    schedule = tell(two_versions(FIRST), NEIGHBOUR, *halves(0, 1), FeedEnded())
    assert (drain(schedule), schedule.finished) == ("F0 F1 Z", False)

    assert (drain(tell(schedule, *gradients(0, 1))), schedule.finished) == ("B0 B1 U", True)


@pytest.mark.parametrize("stages", [1, 2, 4, 8])
@pytest.mark.parametrize("more", [-1, 0, 4])
def test_there_is_no_bubble_but_for_filling_and_draining(stages: int, more: int) -> None:
    """A minibatch has as many microbatches as there are stages, less one, or more. M of cost 3 take 3 M, and the way down
    and up; as many are held as there are stages left.
    """
    forecast = simulate(named("2bw"), stages, 240, Costs(1, 2, 0), minibatch=max(stages + more, 1))

    assert forecast.makespan == pytest.approx(240 * 3 + (stages - 1) * 3)
    assert forecast.peak_stash == tuple(stages - stage for stage in range(stages))


def test_a_minibatch_of_fewer_microbatches_has_a_bubble() -> None:
    assert simulate(named("2bw"), 4, 240, Costs(1, 2, 0), minibatch=2).bubble > 0.1


def test_more_in_flight_cover_slow_links_where_a_minibatch_has_as_many_microbatches() -> None:
    def utilisation(extra: int, minibatch: int) -> float:
        costs, link = Costs(1, 2, 0), Link(3)
        return simulate(lambda place: two_versions(place, extra), 4, 480, costs, 16, minibatch, link).utilisation

    assert utilisation(extra=0, minibatch=12) < 0.5
    assert utilisation(extra=8, minibatch=4) < 0.7, "two minibatches are too few microbatches"
    assert utilisation(extra=8, minibatch=12) > 0.95


@given(
    stages=st.integers(1, 6),
    minibatch=st.integers(1, 9),
    extra=st.integers(0, 20),
    latency=st.floats(0, 20),
    costs=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)),
)
def test_a_gradient_is_at_most_one_update_old_so_that_two_versions_of_the_weights_are_enough(
    stages: int, minibatch: int, extra: int, latency: float, costs: tuple[float, float]
) -> None:
    forecast = simulate(lambda place: two_versions(place, extra), stages, 40, Costs(*costs), 32, minibatch, Link(latency))

    for stage in range(stages):
        actions = [slot.action for slot in forecast.slots if slot.stage == stage]
        versions = list(accumulate(isinstance(action, Update) for action in actions))
        forward = {a.microbatch: version for a, version in zip(actions, versions, strict=True) if isinstance(a, Forward)}
        back = {a.microbatch: version for a, version in zip(actions, versions, strict=True) if isinstance(a, Backward)}
        assert all(back[m] - forward[m] in (0, 1) for m in range(40))
        assert versions[-1] == -(-40 // minibatch)
