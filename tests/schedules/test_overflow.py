"""dni when the next inbox is full, or nobody is there: what waits, what is dropped, what is given up."""

import pytest

from decoupled.schedules.actions import Drop, Forward, Send
from decoupled.schedules.dni import Dni
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    FeedEnded,
    GradientArrived,
    MarkerArrived,
    PeerJoined,
    PeerLost,
)
from decoupled.schedules.feedback import Feedback
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.links import Overflow
from tests.schedules.driving import arrivals, drain, tell

FIRST, MIDDLE, LAST = Place(0, 3), Place(1, 3), Place(2, 3)
NEIGHBOUR = PeerJoined(window=4)


def overflowing(overflow: Overflow, window: int = 2) -> Schedule:
    """A first stage that only seldom has feedback, beside a neighbour with room for `window`."""
    schedule = Dni(FIRST, 100, 8, "bootstrapped", overflow)
    return tell(schedule, PeerJoined(window))


def credit(count: int) -> CreditGranted:
    return CreditGranted(count)


def test_with_latest_only_the_newest_output_waits_for_room() -> None:
    schedule = tell(overflowing("latest"), *arrivals(1, 2, 3, 4, 5))
    assert drain(schedule) == "F1 S1 U F2 S2 U F3 S3 U F4 S4 U D3 F5 S5 U D4"

    assert drain(tell(schedule, credit(1))) == ">5"
    assert drain(tell(schedule, credit(1), *arrivals(6))) == "F6 S6 U"


def test_with_drop_oldest_as_many_outputs_wait_as_the_inbox_holds() -> None:
    schedule = tell(overflowing("drop-oldest"), *arrivals(1, 2, 3, 4, 5, 6))
    assert drain(schedule) == "F1 S1 U F2 S2 U F3 S3 U F4 S4 U F5 S5 U D3 F6 S6 U D4"

    assert drain(tell(schedule, credit(1))) == ">5"
    assert drain(tell(schedule, credit(2), *arrivals(7))) == ">6 F7 S7 U"


def test_whether_an_output_is_sent_at_once_or_later_is_said_by_its_forward_pass() -> None:
    schedule = tell(overflowing("latest", window=1), *arrivals(1, 2, 3), credit(0))
    performed = []
    while (action := schedule.next_action()) is not None:
        performed.append(action)
    tell(schedule, credit(1))

    assert [action for action in performed if isinstance(action, Forward)] == [Forward(1), Forward(2, False), Forward(3, False)]
    assert performed[-1] == Drop(2)
    assert schedule.next_action() == Send(3)


def test_what_waits_is_sent_before_anything_new_is_computed() -> None:
    schedule = tell(overflowing("drop-oldest", window=1), *arrivals(1, 2))
    drain(schedule)

    assert drain(tell(schedule, credit(1), *arrivals(3))) == ">2 F3 S3 U"


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
def test_evaluations_are_never_dropped_and_keep_their_order_after_outputs_that_wait(overflow: Overflow) -> None:
    schedule = tell(overflowing(overflow, window=1), *arrivals(1, 2, 3), ActivationArrived(4, training=False), *arrivals(5))
    assert drain(schedule) == "F1 S1 U F2 S2 U F3 S3 U D2"

    assert drain(tell(schedule, credit(1))) == ">3"
    assert drain(tell(schedule, credit(1))) == "E4 F5 S5 U"
    assert drain(tell(schedule, credit(1))) == ">5"


@pytest.mark.parametrize(("feedback", "settled"), [("bootstrapped", "R0 X1"), ("chained", "B0 U R0 S1 U X1")])
def test_a_dropped_microbatch_that_awaited_a_gradient_is_given_up_in_its_turn(feedback: Feedback, settled: str) -> None:
    """Its gradient can never come, and every sample is trained on; but what goes up must not overtake what is older."""
    schedule = tell(Dni(FIRST, 1, 8, feedback, "latest"), PeerJoined(1), *arrivals(0, 1, 2))

    own = {"bootstrapped": ["F0 S0 U", "F1 S1 U", "F2 S2 U"], "chained": ["F0", "F1", "F2"]}[feedback]
    assert drain(schedule) == f"{' '.join(own)} D1"
    assert drain(tell(schedule, GradientArrived(0))) == settled


@pytest.mark.parametrize(("feedback", "own", "given_up"), [("bootstrapped", " S{0} U", "X0"), ("chained", "", "S0 U X0")])
@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
def test_a_full_stash_gives_up_its_oldest_instead_of_waiting(
    overflow: Overflow, feedback: Feedback, own: str, given_up: str
) -> None:
    schedule = tell(Dni(FIRST, 1, 2, feedback, overflow), NEIGHBOUR, *arrivals(0, 1, 2))
    f0, f1, f2 = (f"F{m}" + own.format(m) for m in range(3))
    assert drain(schedule) == f"{f0} {f1} {given_up} {f2}"

    assert drain(tell(schedule, GradientArrived(0))) == ""  # too late
    assert drain(tell(schedule, GradientArrived(1))) == ("R1" if feedback == "bootstrapped" else "B1 U R1")


def test_a_microbatch_that_was_given_up_is_still_sent_on_when_there_is_room() -> None:
    """The stages below train on it; only its gradient is no longer waited for."""
    schedule = tell(Dni(FIRST, 1, 1, "chained", "drop-oldest"), PeerJoined(1), *arrivals(0, 1, 2))
    assert drain(schedule) == "F0 S0 U X0 F1 S1 U X1 F2 D1"

    assert drain(tell(schedule, credit(1))) == ">2"


LOST = PeerLost()


def test_under_block_a_stage_without_its_neighbour_keeps_an_inboxful_for_its_successor() -> None:
    schedule = tell(overflowing("block", window=2), LOST, *arrivals(1, 2, 3), FeedEnded())
    assert drain(schedule) == "F1 S1 U F2 S2 U"

    assert drain(tell(schedule, credit(2))) == "", "the dead grant nothing"
    assert drain(tell(schedule, PeerJoined(2))) == ">1 >2"
    assert drain(tell(schedule, credit(1))) == "F3 S3 U Z"


@pytest.mark.parametrize(("overflow", "kept"), [("latest", ">4"), ("drop-oldest", ">3 >4")])
def test_otherwise_it_goes_on_for_as_long_as_it_is_fed(overflow: Overflow, kept: str) -> None:
    schedule = tell(overflowing(overflow, window=2), LOST, *arrivals(1, 2, 3, 4))

    assert [word for word in drain(schedule).split() if word[0] == "F"] == ["F1", "F2", "F3", "F4"]
    assert drain(tell(schedule, PeerJoined(2))) == kept


@pytest.mark.parametrize(("feedback", "given_up", "settled"), [("bootstrapped", "X0", "R1"), ("chained", "S0 U X0", "B1 U R1")])
def test_only_what_had_been_sent_is_given_up_with_a_lost_neighbour(feedback: Feedback, given_up: str, settled: str) -> None:
    """What had not will reach its successor, whose gradient is as good."""
    schedule = tell(Dni(FIRST, feedback=feedback, overflow="drop-oldest"), PeerJoined(1), *arrivals(0, 1))
    drain(schedule)

    assert drain(tell(schedule, LOST)) == given_up
    assert drain(tell(schedule, PeerJoined(1))) == ">1"
    assert drain(tell(schedule, GradientArrived(0), GradientArrived(1))) == settled


def test_a_neighbour_that_joins_again_may_have_its_inbox_half_full() -> None:
    schedule = tell(overflowing("block", window=4), LOST, PeerJoined(4, room=1), *arrivals(1, 2, 3))
    assert drain(schedule) == "F1 S1 U"

    assert drain(tell(schedule, credit(2))) == "F2 S2 U F3 S3 U"


def test_the_end_is_told_again_to_a_neighbour_that_joins_again() -> None:
    schedule = tell(overflowing("block"), FeedEnded())
    assert drain(schedule) == "Z"

    assert drain(tell(schedule, LOST)) == ""
    assert not schedule.finished
    assert drain(tell(schedule, PeerJoined(2))) == "Z"
    assert schedule.finished


@pytest.mark.parametrize(
    ("feedback", "before", "after"), [("bootstrapped", "F0 S0 U M0", "R0"), ("chained", "F0 ?0", "B0 U R0 M0")]
)
def test_a_marker_keeps_its_place_and_waits_for_postponed_updates_alone(feedback: Feedback, before: str, after: str) -> None:
    schedule = tell(Dni(FIRST, feedback=feedback), NEIGHBOUR, *arrivals(0), MarkerArrived(0))

    assert drain(schedule) == before
    assert drain(tell(schedule, GradientArrived(0))) == after


def test_a_marker_needs_no_room_but_does_not_overtake_what_waits_for_it() -> None:
    full = tell(overflowing("block", window=1), *arrivals(1), MarkerArrived(1))
    waiting = tell(overflowing("latest", window=1), *arrivals(1, 2), MarkerArrived(2))

    assert drain(full) == "F1 S1 U M1"
    assert drain(waiting) == "F1 S1 U F2 S2 U"
    assert drain(tell(waiting, credit(1))) == ">2 M2"


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
def test_nothing_is_computed_before_the_neighbour_has_joined(overflow: Overflow) -> None:
    schedule = tell(Dni(FIRST, overflow=overflow), *arrivals(0))
    assert drain(schedule) == ""

    assert drain(tell(schedule, PeerJoined(1))) == "F0 S0 U"


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
def test_the_last_stage_has_nobody_to_overflow(overflow: Overflow) -> None:
    assert drain(tell(Dni(LAST, overflow=overflow), *arrivals(0, 1))) == "F0 B0 U F1 B1 U"


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
def test_a_stage_is_not_finished_while_an_output_waits_for_room(overflow: Overflow) -> None:
    schedule = tell(overflowing(overflow, window=1), *arrivals(1, 2), FeedEnded())
    drain(schedule)
    assert not schedule.finished

    drain(tell(schedule, credit(1)))
    assert schedule.finished


def test_with_block_a_full_inbox_or_stash_is_waited_for() -> None:
    schedule = tell(overflowing("block", window=1), *arrivals(1, 2))
    narrow = tell(Dni(FIRST, 1, 1, overflow="block"), NEIGHBOUR, *arrivals(0, 1))

    assert (drain(schedule), drain(narrow)) == ("F1 S1 U", "F0 S0 U ?0")
    assert drain(tell(schedule, credit(1))) == "F2 S2 U"
    assert drain(tell(narrow, GradientArrived(0))) == "R0 F1 S1 U"


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
def test_an_evaluation_is_skipped_while_the_neighbour_is_lost_so_that_the_stage_goes_on(overflow: Overflow) -> None:
    schedule = tell(overflowing(overflow), LOST, *arrivals(1), ActivationArrived(2, training=False), *arrivals(3))

    assert drain(schedule).replace("D1", "").split() == ["F1", "S1", "U", "N2", "F3", "S3", "U"]


def test_under_block_an_evaluation_waits_for_the_neighbour() -> None:
    schedule = tell(overflowing("block"), LOST, ActivationArrived(2, training=False), *arrivals(3))
    assert drain(schedule) == ""

    assert drain(tell(schedule, PeerJoined(2))) == "E2 F3 S3 U"
