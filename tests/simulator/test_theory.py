"""The simulator agrees with theory."""

import pytest

from decoupled.schedules.actions import Drop, EndFeed, Forward, Send, Update
from decoupled.schedules.dni import Dni
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.links import Overflow
from decoupled.simulator.network import Costs, Link
from decoupled.simulator.simulation import Deadlock
from decoupled.simulator.timeline import Forecast, simulate
from tests.schedules.driving import named


@pytest.mark.parametrize("stages", [1, 2, 4, 7])
def test_lockstep_uses_one_stage_at_a_time(stages: int) -> None:
    forecast = simulate(named("lockstep"), stages, 6, Costs(forward=1, backward=2, input_gradient=0))

    assert forecast.utilisation == pytest.approx(1 / stages)
    assert forecast.makespan == pytest.approx(stages * 6 * 3)
    assert forecast.peak_stash == (1,) * stages


def test_latency_makes_lockstep_wait_at_every_hop() -> None:
    quick, slow = (simulate(named("lockstep"), 4, 10, Costs(1, 2, 0), link=Link(d)).makespan for d in (0, 5))

    # 10 microbatches, 3 hops down and 3 up; the last way up of the last microbatch counts, too
    assert slow - quick == pytest.approx(10 * 6 * 5)


def test_dni_keeps_all_stages_busy_but_for_filling_and_draining() -> None:
    """P equal stages, M microbatches of cost 3: the last stage starts P - 1 forward passes late."""
    forecast = simulate(lambda place: Dni(place, 1, 8), 4, 100, Costs(1, 2, 0))

    assert forecast.makespan == pytest.approx(100 * 3 + 3 * 1)


def test_dni_does_not_feel_latency_that_its_stash_and_window_cover() -> None:
    near, far = (simulate(lambda p: Dni(p, 4, 8), 4, 300, Costs(1, 2, 0), window=8, link=Link(d)).utilisation for d in (0, 5))

    assert far > 0.95 * near


def test_a_larger_stash_covers_a_longer_round_trip() -> None:
    """With a gradient for every microbatch and a latency of 5 forward passes, utilisation grows with stash_max."""
    shares = []
    for stash_max in (2, 4, 8):

        def make(place: Place, stash_max: int = stash_max) -> Schedule:
            return Dni(place, 1, stash_max)

        shares.append(simulate(make, 4, 300, Costs(1, 2, 0), window=16, link=Link(5)).utilisation)

    assert shares == sorted(shares)
    assert shares[0] < 0.6
    assert shares[2] > 0.9


def test_a_slow_stage_sets_the_pace_and_the_others_wait_for_it() -> None:
    forecast = simulate(Dni, 3, 50, [Costs(1, 2, 0), Costs(1, 2, 0), Costs(2, 4, 0)])

    assert forecast.makespan == pytest.approx(50 * 6 + 2)


def test_the_stash_never_exceeds_its_limit() -> None:
    forecast = simulate(lambda place: Dni(place, 1, 3), 4, 60, Costs(1, 2, 0), window=16, link=Link(9))

    assert max(forecast.peak_stash) == 3


def test_a_transcript_of_a_small_run() -> None:
    forecast = simulate(lambda place: Dni(place, 2, 2, "chained"), 2, 4, Costs(forward=1, backward=1, input_gradient=0))

    assert forecast.actions(0) == "F0 F1 S1 U B0 U R0 F2 F3 S3 U B2 U R2 Z"
    assert forecast.actions(1) == "F0 B0 U F1 B1 U F2 B2 U F3 B3 U"


def test_a_schedule_that_gets_stuck_is_named() -> None:
    class Stuck(Dni):
        def next_action(self) -> None:
            return None

    with pytest.raises(Deadlock, match=r"stages \[0, 1\] still had work"):
        simulate(Stuck, 2, 1, Costs())


def test_a_minibatch_larger_than_the_inbox_is_no_deadlock() -> None:
    forecast = simulate(named("gpipe"), 3, 12, Costs(1, 2, 0), window=2, minibatch=12)

    assert forecast.peak_stash == (12, 12, 12)


def test_no_microbatches_take_no_time() -> None:
    forecast = simulate(Dni, 3, 0, Costs())

    assert forecast.makespan == 0
    assert forecast.bubble == 1


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("stages", "microbatches"), [(1, 4), (2, 1), (2, 8), (4, 4), (4, 16), (7, 3)])
def test_the_bubble_of_a_pipeline_is_the_stages_less_one_over_the_slots(name: str, stages: int, microbatches: int) -> None:
    """(P - 1) / (M + P - 1), for one minibatch of M microbatches through P stages (GPipe, section 2.3)."""
    forecast = simulate(named(name), stages, microbatches, Costs(1, 2, 0), window=32, minibatch=microbatches)

    assert forecast.bubble == pytest.approx((stages - 1) / (microbatches + stages - 1))
    assert forecast.makespan == pytest.approx((microbatches + stages - 1) * 3)


@pytest.mark.parametrize(("stages", "microbatches"), [(4, 16), (4, 2), (1, 8)])
def test_1f1b_holds_as_many_as_there_are_stages_left_and_gpipe_a_whole_minibatch(stages: int, microbatches: int) -> None:
    peaks = {
        name: simulate(named(name), stages, 2 * microbatches, Costs(1, 2, 0), window=32, minibatch=microbatches).peak_stash
        for name in ("gpipe", "1f1b")
    }

    assert peaks["gpipe"] == (microbatches,) * stages
    assert peaks["1f1b"] == tuple(min(stages - i, microbatches) for i in range(stages))


@pytest.mark.parametrize("name", ["lockstep", "gpipe", "1f1b"])
@pytest.mark.parametrize(("minibatch", "updates"), [(1, 10), (4, 3), (10, 1)])
def test_every_minibatch_makes_one_update_and_the_last_may_be_short(name: str, minibatch: int, updates: int) -> None:
    forecast = simulate(named(name), 3, 10, Costs(), minibatch=minibatch)

    assert [forecast.actions(stage).split().count("U") for stage in range(3)] == [updates] * 3


def test_flushes_add_up() -> None:
    """Nothing of the next minibatch starts at the first stage before its flush, so each has a bubble of its own."""
    once, often = (simulate(named("gpipe"), 4, 8 * n, Costs(1, 2, 0), minibatch=8) for n in (1, 5))

    assert often.makespan == pytest.approx(5 * once.makespan)
    assert often.bubble == pytest.approx(once.bubble)


def test_transcripts_of_the_pipelines() -> None:
    gpipe, narrow = (simulate(named(name), 2, 4, Costs(1, 2, 0), minibatch=4) for name in ("gpipe", "1f1b"))

    assert gpipe.actions(0) == "F0 F1 F2 F3 Z B0 B1 B2 B3 U"
    assert gpipe.actions(1) == "F0 F1 F2 F3 B0 B1 B2 B3 U"
    assert narrow.actions(0) == "F0 F1 B0 F2 B1 F3 B2 Z B3 U"
    assert narrow.actions(1) == "F0 B0 F1 B1 F2 B2 F3 B3 U"


def test_a_gradient_that_is_sent_up_costs_the_inputs_product_as_well() -> None:
    """The first stage has nobody to send it to."""
    forecast = simulate(named("lockstep"), 2, 1, Costs(forward=1, backward=2, input_gradient=4, update=8))

    lengths = [
        [slot.end - slot.start for slot in forecast.slots if slot.stage == stage and slot.action != EndFeed()] for stage in (0, 1)
    ]
    assert lengths == [[1, 2, 8], [1, 2 + 4, 8]]


def slow_end(overflow: Overflow, feedback_every: int = 4) -> Forecast:
    """100 microbatches through three stages, the last five times as slow as the others."""
    return simulate(
        lambda place: Dni(place, feedback_every, 8, "chained", overflow),
        3,
        100,
        [Costs(1, 2, 0), Costs(1, 2, 0), Costs(5, 10, 0)],
    )


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
@pytest.mark.parametrize("feedback_every", [1, 4])
def test_a_first_stage_that_may_drop_takes_no_longer_than_alone(overflow: Overflow, feedback_every: int) -> None:
    forecast = slow_end(overflow, feedback_every)

    trained = [slot for slot in forecast.slots if slot.stage == 0 and isinstance(slot.action, Forward | Update)]
    assert max(slot.end for slot in trained if isinstance(slot.action, Forward)) <= 100 * 3
    assert sum(isinstance(slot.action, Update) for slot in trained) == 100


def test_a_first_stage_that_waits_for_room_takes_as_long_as_the_slowest() -> None:
    forecast = slow_end("block")

    assert max(slot.end for slot in forecast.slots if slot.stage == 0 and isinstance(slot.action, Forward)) > 1000
    assert not any(isinstance(slot.action, Drop | Send) for slot in forecast.slots)


@pytest.mark.parametrize("overflow", ["latest", "drop-oldest"])
def test_what_is_dropped_never_arrives_and_everything_else_does(overflow: Overflow) -> None:
    forecast = slow_end(overflow)

    for stage in (0, 1):
        passed = {slot.action.microbatch for slot in forecast.slots if slot.stage == stage and isinstance(slot.action, Forward)}
        dropped = {slot.action.microbatch for slot in forecast.slots if slot.stage == stage and isinstance(slot.action, Drop)}
        below = {
            slot.action.microbatch for slot in forecast.slots if slot.stage == stage + 1 and isinstance(slot.action, Forward)
        }
        assert passed - dropped == below
    assert any(isinstance(slot.action, Drop) for slot in forecast.slots)
