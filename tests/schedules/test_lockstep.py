"""lockstep, action by action: one microbatch at a time, and the update before the next."""

from decoupled.schedules.events import ActivationArrived, FeedEnded, GradientArrived, PeerJoined, Side
from decoupled.schedules.interface import Place
from decoupled.schedules.lockstep import Lockstep
from tests.schedules.driving import drain, tell

NEIGHBOUR = PeerJoined(Side.DOWNSTREAM, window=4)


def test_a_stage_waits_for_the_gradient_of_each_microbatch() -> None:
    schedule = tell(Lockstep(Place(0, 2)), NEIGHBOUR, ActivationArrived(0), ActivationArrived(1))
    assert drain(schedule) == "F0"

    assert drain(tell(schedule, GradientArrived(0))) == "B0 U F1"


def test_the_last_stage_has_its_gradient_at_once() -> None:
    assert drain(tell(Lockstep(Place(1, 2)), ActivationArrived(0), ActivationArrived(1))) == "F0 B0 U F1 B1 U"


def test_a_stage_that_is_first_and_last_is_plain_backprop() -> None:
    assert drain(tell(Lockstep(Place(0, 1)), ActivationArrived(0), ActivationArrived(1))) == "F0 B0 U F1 B1 U"


def test_evaluation_waits_for_the_update_before_it() -> None:
    schedule = tell(Lockstep(Place(0, 2)), NEIGHBOUR, ActivationArrived(0), ActivationArrived(1, training=False))
    assert drain(schedule) == "F0"

    assert drain(tell(schedule, GradientArrived(0))) == "B0 U E1"


def test_gradients_of_other_microbatches_change_nothing() -> None:
    schedule = tell(Lockstep(Place(0, 2)), NEIGHBOUR, ActivationArrived(0))
    drain(schedule)

    assert drain(tell(schedule, GradientArrived(5))) == ""
    assert drain(tell(schedule, GradientArrived(0), GradientArrived(0))) == "B0 U"


def test_a_stage_is_finished_after_the_last_update() -> None:
    schedule = tell(Lockstep(Place(0, 2)), NEIGHBOUR, ActivationArrived(0), FeedEnded(0))
    drain(schedule)
    assert not schedule.finished

    drain(tell(schedule, GradientArrived(0)))
    assert schedule.finished
