"""dni, action by action: nothing waits, refining goes first, and both limits hold."""

import pytest

from decoupled.schedules.actions import Backward, Source
from decoupled.schedules.dni import Dni
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
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
from decoupled.schedules.feedback import Feedback
from decoupled.schedules.interface import Place
from decoupled.schedules.links import Overflow, window_under
from tests.schedules.driving import arrivals, drain, tell

FIRST, MIDDLE, LAST = Place(0, 3), Place(1, 3), Place(2, 3)
NEIGHBOUR = PeerJoined(window=4)


def test_a_stage_updates_at_once_and_refines_when_the_gradient_comes() -> None:
    schedule = tell(Dni(FIRST), NEIGHBOUR, *arrivals(0, 1))
    assert drain(schedule) == "F0 S0 U F1 S1 U"

    tell(schedule, GradientArrived(0))
    assert drain(schedule) == "R0"


def test_refining_goes_before_the_next_forward_pass() -> None:
    schedule = tell(Dni(MIDDLE), NEIGHBOUR, *arrivals(0))
    drain(schedule)
    tell(schedule, *arrivals(1), GradientArrived(0))

    assert drain(schedule) == "R0 F1 S1 U"


def test_the_last_stage_has_the_true_gradient_and_no_head_to_refine() -> None:
    schedule = tell(Dni(LAST), *arrivals(0, 1))

    assert drain(schedule) == "F0 B0 U F1 B1 U"


def test_only_every_nth_microbatch_waits_for_feedback() -> None:
    schedule = tell(Dni(MIDDLE, feedback_every=2, stash_max=1), PeerJoined(9), *arrivals(0, 1, 2, 3))

    assert drain(schedule) == "F0 S0 U F1 S1 U ?0"  # 2 has feedback, and the stash is full
    tell(schedule, GradientArrived(0))
    assert drain(schedule) == "R0 F2 S2 U F3 S3 U"


@pytest.mark.parametrize(("place", "sent"), [(FIRST, [False, False]), (MIDDLE, [True, False]), (LAST, [True, False])])
def test_gradients_go_up_for_feedback_microbatches_only_and_never_from_the_first_stage(place: Place, sent: list[bool]) -> None:
    schedule = tell(Dni(place, feedback_every=2), NEIGHBOUR, *arrivals(0, 1))
    performed = []
    while (action := schedule.next_action()) is not None:
        performed.append(action)

    assert [action.send for action in performed if isinstance(action, Backward)] == sent


def test_chained_feedback_postpones_that_microbatchs_update_until_its_gradient_comes() -> None:
    schedule = tell(Dni(MIDDLE, feedback_every=2, feedback="chained"), NEIGHBOUR, *arrivals(0, 1))
    assert drain(schedule) == "F0 F1 S1 U"

    tell(schedule, GradientArrived(0))
    assert schedule.next_action() == Backward(0, Source.TRUE, send=True, keep=True)
    assert drain(schedule) == "U R0"


def test_chained_feedback_that_never_comes_is_replaced_by_the_heads_guess() -> None:
    """Every sample is trained on, whatever gets lost."""
    schedule = tell(Dni(MIDDLE, feedback="chained"), NEIGHBOUR, *arrivals(0))
    assert drain(schedule) == "F0"

    tell(schedule, GradientsEnded(0))
    assert drain(schedule) == "S0 U X0"


def test_credit_bounds_what_is_sent_downstream() -> None:
    schedule = tell(Dni(FIRST), PeerJoined(1), *arrivals(0, 1))
    assert drain(schedule) == "F0 S0 U"

    tell(schedule, CreditGranted(1))
    assert drain(schedule) == "F1 S1 U"


def test_nothing_is_sent_before_the_downstream_has_joined() -> None:
    assert drain(tell(Dni(FIRST), *arrivals(0))) == ""


def test_a_full_stash_stops_the_stage_until_a_gradient_or_an_eviction_makes_room() -> None:
    schedule = tell(Dni(FIRST, stash_max=2), NEIGHBOUR, *arrivals(0, 1, 2, 3))
    assert drain(schedule) == "F0 S0 U F1 S1 U ?1"

    tell(schedule, GradientArrived(1))
    assert drain(schedule) == "X0 R1 F2 S2 U F3 S3 U"


def test_a_lost_neighbour_frees_the_whole_stash() -> None:
    schedule = tell(Dni(FIRST), NEIGHBOUR, *arrivals(0, 1))
    drain(schedule)

    assert drain(tell(schedule, PeerLost())) == "X0 X1"


def test_a_neighbour_that_joins_again_resets_credit_and_never_adds_to_it() -> None:
    schedule = tell(Dni(FIRST), PeerJoined(2), PeerJoined(2), *arrivals(0, 1, 2, 3))

    assert drain(schedule) == "F0 S0 U F1 S1 U"


def test_duplicates_late_and_unknown_gradients_change_nothing() -> None:
    schedule = tell(Dni(FIRST), NEIGHBOUR, *arrivals(0, 0), GradientArrived(7))
    assert drain(schedule) == "F0 S0 U"

    tell(schedule, GradientArrived(0), GradientArrived(0), GradientsEnded(0), *arrivals(0))
    assert drain(schedule) == "R0"


def test_evaluation_keeps_its_place_in_the_stream() -> None:
    schedule = tell(Dni(MIDDLE), NEIGHBOUR, ActivationArrived(0), ActivationArrived(1, training=False), ActivationArrived(2))

    assert drain(schedule) == "F0 S0 U E1 F2 S2 U"


def test_a_stage_is_finished_when_the_feed_has_ended_and_every_gradient_is_settled() -> None:
    schedule = tell(Dni(FIRST), NEIGHBOUR, *arrivals(0))
    drain(schedule)
    assert not schedule.finished  # more may come

    assert drain(tell(schedule, *arrivals(1), FeedEnded())) == "F1 S1 U Z"
    assert not schedule.finished  # both gradients are out
    drain(tell(schedule, GradientArrived(1), PeerFinished()))
    assert schedule.finished


def test_a_feed_that_ends_before_it_began_is_only_passed_on() -> None:
    schedule = tell(Dni(FIRST), FeedEnded())
    assert (drain(schedule), schedule.finished) == ("", False)  # there is nobody to tell yet

    assert drain(tell(schedule, NEIGHBOUR)) == "Z"
    assert schedule.finished


def test_the_last_stage_has_nobody_to_tell_of_the_end() -> None:
    schedule = tell(Dni(LAST), *arrivals(0), FeedEnded())

    assert drain(schedule) == "F0 B0 U"
    assert schedule.finished


def test_an_evaluation_sees_the_postponed_updates_of_what_came_before_it() -> None:
    schedule = tell(Dni(MIDDLE, feedback="chained"), NEIGHBOUR, ActivationArrived(0), ActivationArrived(1, training=False))
    assert drain(schedule) == "F0 ?0"

    assert drain(tell(schedule, GradientArrived(0))) == "B0 U R0 E1"


@pytest.mark.parametrize(("feedback", "expected"), [("bootstrapped", "X0 R1"), ("chained", "S0 U X0 B1 U R1")])
def test_a_gradient_that_was_overtaken_is_lost_because_a_link_keeps_order(feedback: Feedback, expected: str) -> None:
    schedule = tell(Dni(FIRST, feedback=feedback), NEIGHBOUR, *arrivals(0, 1))
    drain(schedule)

    assert drain(tell(schedule, GradientArrived(1))) == expected
    assert drain(tell(schedule, GradientArrived(0))) == ""


@pytest.mark.parametrize(("overflow", "window"), [("block", 8), ("drop-oldest", 8), ("latest", 1)])
def test_under_latest_an_upstream_may_have_one_microbatch_in_the_inbox(overflow: Overflow, window: int) -> None:
    assert window_under(overflow, 8) == window


EVALUATION = ActivationArrived(9, training=False)


@pytest.mark.parametrize(("waits", "then"), [(MarkerArrived(1), "M1"), (EVALUATION, "E9")])
def test_what_waits_for_gradients_that_were_lost_goes_on_when_the_fence_is_answered(waits: Event, then: str) -> None:
    schedule = tell(Dni(MIDDLE, feedback="chained"), NEIGHBOUR, *arrivals(0, 1), waits)
    assert drain(schedule) == "F0 F1 ?1"

    assert drain(tell(schedule, GradientsEnded(1))) == f"S0 U X0 S1 U X1 {then}"


def test_a_fence_is_sent_once_and_again_only_for_what_was_sent_after_it() -> None:
    schedule = tell(Dni(FIRST, stash_max=2), NEIGHBOUR, *arrivals(0, 1, 2, 3, 4))
    assert drain(schedule) == "F0 S0 U F1 S1 U ?1"

    assert drain(tell(schedule, GradientArrived(0))) == "R0 F2 S2 U", "its answer is still to come"
    assert drain(tell(schedule, GradientsEnded(1))) == "X1 F3 S3 U ?3"


def test_a_fence_from_above_is_answered_behind_the_gradients_that_it_asks_for_and_stops_nothing() -> None:
    schedule = tell(Dni(MIDDLE, feedback="chained"), NEIGHBOUR, *arrivals(0), FenceArrived(0), *arrivals(1))
    assert drain(schedule) == "F0 F1 ?1"

    assert drain(tell(schedule, GradientArrived(0))) == "B0 U R0 !0"
    assert drain(tell(schedule, GradientArrived(1))) == "B1 U R1"


@pytest.mark.parametrize("place", [MIDDLE, LAST])
def test_a_stage_that_has_sent_every_gradient_answers_at_once(place: Place) -> None:
    schedule = tell(Dni(place), NEIGHBOUR, *arrivals(0), FenceArrived(0))

    assert drain(schedule).endswith("U !0")


def test_a_fence_is_answered_although_the_neighbour_below_is_lost() -> None:
    """The stages above would wait for as long as it is."""
    schedule = tell(Dni(MIDDLE, feedback="chained"), NEIGHBOUR, PeerLost(), *arrivals(0), FenceArrived(0))

    assert drain(schedule) == "F0 S0 U X0 !0"
    assert drain(tell(schedule, NEIGHBOUR)) == ">0"
