"""The figures of a long run on paper agree with theory."""

import pytest

from decoupled.schedules.catalogue import Settings, async1f1b, make
from decoupled.simulator.figures import figures
from decoupled.simulator.network import Costs, Device, Link, Network
from tests.schedules.driving import named

EQUAL = Network([Device(Costs(1, 2, 0))] * 5, [Link()] * 5)


def test_async1f1b_has_no_bubble_and_gradients_as_old_as_there_are_stages_below() -> None:
    found = figures(async1f1b, EQUAL, 1500, rolls_back=True)

    assert found.utilisation == pytest.approx(1.0, abs=0.01)
    assert found.rate == pytest.approx(1 / 3, rel=0.01)
    assert (found.truth, found.missed, found.undone, found.failures) == (1.0, 0.0, 0.0, 0)
    assert [stage.staleness for stage in found.stages] == pytest.approx([4, 3, 2, 1, 0], abs=0.05)


def test_lockstep_uses_one_stage_at_a_time() -> None:
    found = figures(named("lockstep"), EQUAL, 1500, rolls_back=True)

    assert found.utilisation == pytest.approx(1 / 5, rel=0.02)
    assert found.staleness == 0


def test_chained_feedback_is_true_for_every_nth() -> None:
    found = figures(lambda place: make("dni", place, Settings(4, 32, "chained")), EQUAL, 3000, rolls_back=False)

    assert found.truth == pytest.approx(1 / 4, abs=0.02)
    assert found.utilisation > 0.95


def test_bootstrapped_feedback_is_true_for_nobody() -> None:
    found = figures(lambda place: make("dni", place, Settings(1, 32, "bootstrapped")), EQUAL, 3000, rolls_back=False)

    assert found.truth == 0.0


def test_under_adaptive_feedback_a_gradient_that_follows_from_a_guess_is_none() -> None:
    """The third stage has no room to keep any, so those above it get what follows from its guesses."""
    settings = [Settings(1, 64, "adaptive"), Settings(1, 64, "adaptive"), Settings(1, 1, "adaptive", share=0.001)]
    found = figures(lambda place: make("dni", place, settings[min(place.stage, 2)]), EQUAL, 3000, rolls_back=False, window=16)

    assert [stage.truth for stage in found.stages[:3]] == pytest.approx([0.0, 0.0, 0.0], abs=0.01)


def test_a_slow_end_misses_what_a_fast_beginning_does_not_wait_for() -> None:
    network = Network([Device(Costs(1, 2, 0)), Device(Costs(1, 2, 0)), Device(Costs(4, 8, 0))], [Link()] * 3)

    found = figures(lambda place: make("dni", place, Settings(overflow="latest")), network, 6000, rolls_back=False, window=1)

    assert [stage.rate for stage in found.stages] == pytest.approx([1 / 3, 1 / 3, 1 / 12], rel=0.02)
    assert found.missed == pytest.approx(1 / 4, rel=0.05)  # the mean of none, none and three quarters


@pytest.mark.parametrize("duration", [20, 1500])
def test_a_run_that_is_too_short_says_so(duration: float) -> None:
    assert figures(async1f1b, EQUAL, duration, rolls_back=True).is_steady == (duration > 100)
