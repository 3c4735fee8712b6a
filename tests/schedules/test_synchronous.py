"""lockstep, gpipe and 1f1b, action by action: the weights stand still until a whole minibatch has come back."""

import pytest

from decoupled.errors import UsageError
from decoupled.schedules.actions import Backward, Source
from decoupled.schedules.catalogue import NAMES, Settings, make
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    FeedEnded,
    FenceArrived,
    GradientArrived,
    MarkerArrived,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.interface import Place, Schedule
from tests.schedules.driving import drain, tell

SYNCHRONOUS = ("lockstep", "gpipe", "1f1b")
NEIGHBOUR = PeerJoined(window=8)
FIRST, SECOND, LAST = Place(0, 3), Place(1, 3), Place(2, 3)


def stage(name: str, place: Place, *events: Event) -> Schedule:
    """One stage whose downstream neighbour has room for eight."""
    schedule = make(name, place, Settings())
    return tell(schedule, *([] if place.is_last else [NEIGHBOUR]), *events)


def minibatch(*microbatches: int) -> list[Event]:
    """Microbatches that make one update."""
    *before, last = microbatches
    return [*(ActivationArrived(m, ends_minibatch=False) for m in before), ActivationArrived(last)]


def gradients(*microbatches: int) -> list[Event]:
    return [GradientArrived(m) for m in microbatches]


def test_lockstep_has_one_microbatch_out_at_a_time_and_one_update_for_all() -> None:
    schedule = stage("lockstep", FIRST, *minibatch(0, 1, 2))
    assert drain(schedule) == "F0"

    assert drain(tell(schedule, *gradients(0))) == "B0 F1"
    assert drain(tell(schedule, *gradients(1))) == "B1 F2"
    assert drain(tell(schedule, *gradients(2))) == "B2 U"


def test_gpipe_takes_no_gradient_until_the_whole_minibatch_has_gone_forward() -> None:
    schedule = stage("gpipe", FIRST, *minibatch(0, 1, 2)[:2], *gradients(0))
    assert drain(schedule) == "F0 F1"
    assert drain(tell(schedule, *gradients(0, 1))) == ""

    assert drain(tell(schedule, ActivationArrived(2))) == "F2 B0 B1"
    assert drain(tell(schedule, *gradients(2))) == "B2 U"


@pytest.mark.parametrize(
    ("place", "actions"),
    [(FIRST, "F0 F1 F2"), (SECOND, "F0 F1"), (LAST, "F0 B0 F1 B1 F2 B2 F3 B3 U")],
    ids=["first", "second", "last"],
)
def test_1f1b_is_at_most_as_far_ahead_as_there_are_stages_left(place: Place, actions: str) -> None:
    assert drain(stage("1f1b", place, *minibatch(0, 1, 2, 3))) == actions


def test_1f1b_does_one_backward_and_one_forward_pass_in_turn_and_then_flushes() -> None:
    schedule = stage("1f1b", SECOND, *minibatch(0, 1, 2, 3))
    assert drain(schedule) == "F0 F1"

    assert drain(tell(schedule, *gradients(0))) == "B0 F2"
    assert drain(tell(schedule, *gradients(1))) == "B1 F3"
    assert drain(tell(schedule, *gradients(2))) == "B2"
    assert drain(tell(schedule, *gradients(3))) == "B3 U"


def test_gpipes_last_stage_goes_back_over_the_minibatch_once_it_is_whole() -> None:
    schedule = stage("gpipe", LAST, *minibatch(0, 1, 2)[:2])
    assert drain(schedule) == "F0 F1"

    assert drain(tell(schedule, ActivationArrived(2), *minibatch(3, 4))) == "F2 B0 B1 B2 U F3 F4 B3 B4 U"


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_stage_that_is_first_and_last_is_plain_backprop(name: str) -> None:
    assert drain(stage(name, Place(0, 1), *minibatch(0), *minibatch(1))) == "F0 B0 U F1 B1 U"


@pytest.mark.parametrize(("name", "ahead"), [("lockstep", "F0"), ("gpipe", "F0 F1"), ("1f1b", "F0 F1")])
def test_no_stage_goes_into_the_next_minibatch_before_its_update(name: str, ahead: str) -> None:
    schedule = stage(name, FIRST, *minibatch(0, 1), *minibatch(2, 3))
    first = drain(schedule)
    second = drain(tell(schedule, *gradients(0)))
    third = drain(tell(schedule, *gradients(1)))

    assert first == ahead
    assert second == ("B0 F1" if name == "lockstep" else "B0")
    assert third == ("B1 U F2" if name == "lockstep" else "B1 U F2 F3")


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_evaluation_waits_for_the_update_of_the_minibatch_before_it_and_holds_nobody_up(name: str) -> None:
    schedule = stage(name, FIRST, *minibatch(0), ActivationArrived(1, training=False), *minibatch(2))
    assert drain(schedule) == "F0"

    assert drain(tell(schedule, *gradients(0))) == "B0 U E1 F2"


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_gradients_that_come_out_of_order_are_used_in_order(name: str) -> None:
    schedule = stage(name, FIRST, *minibatch(0, 1, 2))
    drain(schedule)

    assert drain(tell(schedule, *gradients(2, 1))) == ""
    assert drain(tell(schedule, *gradients(0))) == "B0 B1 B2 U"


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_duplicate_and_unknown_gradients_change_nothing(name: str) -> None:
    schedule = stage(name, FIRST, *minibatch(0), *minibatch(1))
    drain(schedule)

    assert drain(tell(schedule, *gradients(5, 1))) == ""  # 1 has not gone forward yet
    assert drain(tell(schedule, *gradients(0, 0))) == "B0 U F1"
    assert drain(tell(schedule, *gradients(0))) == ""
    assert drain(tell(schedule, *gradients(1))) == "B1 U"


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_microbatch_that_comes_twice_is_trained_on_once(name: str) -> None:
    assert drain(stage(name, LAST, *minibatch(0), *minibatch(0), *minibatch(1))) == "F0 B0 U F1 B1 U"


@pytest.mark.parametrize(("place", "sent"), [(FIRST, False), (SECOND, True), (LAST, True)])
@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_every_gradient_goes_up_but_from_the_first_stage(name: str, place: Place, sent: bool) -> None:
    schedule = stage(name, place, *minibatch(0))
    schedule.next_action()
    tell(schedule, *gradients(0))

    assert schedule.next_action() == Backward(0, Source.TRUE, send=sent)


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_credit_bounds_what_is_sent_downstream(name: str) -> None:
    schedule = make(name, FIRST, Settings())
    assert drain(tell(schedule, *minibatch(0, 1, 2))) == ""  # nobody has joined

    assert drain(tell(schedule, PeerJoined(1))) == "F0"
    assert drain(tell(schedule, CreditGranted(1))) == "F1"


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_stage_is_finished_after_the_last_update(name: str) -> None:
    schedule = stage(name, FIRST, *minibatch(0), FeedEnded())
    drain(schedule)
    before = schedule.finished
    tell(schedule, *gradients(0))
    backward = schedule.next_action()
    between = schedule.finished
    update = schedule.next_action()

    assert (before, str(backward), between, str(update), schedule.finished) == (False, "B0", False, "U", True)


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_stage_is_not_finished_while_something_is_on_its_way(name: str) -> None:
    schedule = stage(name, LAST, *minibatch(0))
    drain(schedule)
    assert not schedule.finished

    drain(tell(schedule, ActivationArrived(1, training=False), FeedEnded()))
    assert schedule.finished


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_the_downstream_stage_hears_of_the_end_once_and_again_when_it_joins_again(name: str) -> None:
    schedule = stage(name, FIRST, FeedEnded())
    assert (drain(schedule), schedule.finished) == ("Z", True)

    tell(schedule, PeerLost())
    assert (drain(schedule), schedule.finished) == ("", False)
    tell(schedule, PeerJoined(8))
    assert (drain(schedule), schedule.finished) == ("Z", True)


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_marker_waits_for_the_update_of_the_minibatch_before_it(name: str) -> None:
    schedule = stage(name, FIRST, *minibatch(0), MarkerArrived(0), *minibatch(1))
    assert drain(schedule) == "F0"

    assert drain(tell(schedule, *gradients(0))) == "B0 U M0 F1"


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_nothing_is_sent_to_a_neighbour_that_is_lost(name: str) -> None:
    schedule = stage(name, FIRST, PeerLost(), CreditGranted(1), *minibatch(0))

    assert drain(schedule) == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_schedule(name: str) -> None:
    assert drain(tell(make(name, LAST, Settings()), ActivationArrived(0))) == "F0 B0 U"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'magic'.*dni.*lockstep.*gpipe.*1f1b"):
        make("magic", FIRST, Settings())


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_fence_is_refused_where_every_gradient_is_sent_back(name: str) -> None:
    with pytest.raises(ValueError, match="fence"):
        tell(stage(name, FIRST), FenceArrived(0))
