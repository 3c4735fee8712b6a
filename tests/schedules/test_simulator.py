"""The simulator agrees with theory."""

import pytest

from decoupled.schedules.dni import Dni
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.lockstep import Lockstep
from decoupled.schedules.simulator import Costs, Deadlock, simulate


@pytest.mark.parametrize("stages", [1, 2, 4, 7])
def test_lockstep_uses_one_stage_at_a_time(stages: int) -> None:
    forecast = simulate(Lockstep, stages, 6, Costs(forward=1, backward=2))

    assert forecast.utilisation == pytest.approx(1 / stages)
    assert forecast.makespan == pytest.approx(stages * 6 * 3)
    assert forecast.peak_stash == (1,) * stages


def test_latency_makes_lockstep_wait_at_every_hop() -> None:
    quick, slow = (simulate(Lockstep, 4, 10, Costs(1, 2, latency=latency)).makespan for latency in (0, 5))

    # 10 microbatches, 3 hops down and 3 up; the last way up of the last microbatch counts, too
    assert slow - quick == pytest.approx(10 * 6 * 5)


def test_dni_keeps_all_stages_busy_but_for_filling_and_draining() -> None:
    """P equal stages, M microbatches of cost 3: the last stage starts P - 1 forward passes late."""
    forecast = simulate(lambda place: Dni(place, 1, 8), 4, 100, Costs(forward=1, backward=2))

    assert forecast.makespan == pytest.approx(100 * 3 + 3 * 1)


def test_dni_does_not_feel_latency_that_its_stash_and_window_cover() -> None:
    near, far = (simulate(lambda p: Dni(p, 4, 8), 4, 300, Costs(1, 2, latency=d), window=8).utilisation for d in (0, 5))

    assert far > 0.95 * near


def test_a_larger_stash_covers_a_longer_round_trip() -> None:
    """With a gradient for every microbatch and a latency of 5 forward passes, utilisation grows with stash_max."""
    shares = []
    for stash_max in (2, 4, 8):

        def make(place: Place, stash_max: int = stash_max) -> Schedule:
            return Dni(place, 1, stash_max)

        shares.append(simulate(make, 4, 300, Costs(1, 2, latency=5), window=16).utilisation)

    assert shares == sorted(shares)
    assert shares[0] < 0.6
    assert shares[2] > 0.9


def test_a_slow_stage_sets_the_pace_and_the_others_wait_for_it() -> None:
    forecast = simulate(Dni, 3, 50, [Costs(1, 2), Costs(1, 2), Costs(2, 4)])

    assert forecast.makespan == pytest.approx(50 * 6 + 2)


def test_the_stash_never_exceeds_its_limit() -> None:
    forecast = simulate(lambda place: Dni(place, 1, 3), 4, 60, Costs(1, 2, latency=9), window=16)

    assert max(forecast.peak_stash) == 3


def test_a_transcript_of_a_small_run() -> None:
    forecast = simulate(lambda place: Dni(place, 2, 2, "chained"), 2, 4, Costs(forward=1, backward=1))

    assert forecast.actions(0) == "F0 F1 S1 U B0 U R0 F2 F3 S3 U B2 U R2"
    assert forecast.actions(1) == "F0 B0 U F1 B1 U F2 B2 U F3 B3 U"


def test_a_schedule_that_gets_stuck_is_named() -> None:
    class Stuck(Lockstep):
        def next_action(self) -> None:
            return None

    with pytest.raises(Deadlock, match=r"stages \[0, 1\] still had work"):
        simulate(Stuck, 2, 1, Costs())


def test_no_microbatches_take_no_time() -> None:
    forecast = simulate(Dni, 3, 0, Costs())

    assert forecast.makespan == 0
    assert forecast.bubble == 1
