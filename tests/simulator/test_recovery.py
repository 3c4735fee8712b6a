"""Devices that are lost on paper: who goes on, from what, and what is lost with them."""

import math
from functools import partial

import pytest

from decoupled.schedules.catalogue import EXACT, Settings, make
from decoupled.schedules.feedback import Feedback
from decoupled.schedules.links import Overflow
from decoupled.simulator.figures import Figures, figures
from decoupled.simulator.network import Coordinator, Costs, Device, Link, Network, Sizes
from decoupled.simulator.recovery import Recovery
from decoupled.simulator.simulation import Simulation
from tests.schedules.driving import named

BACKPROP = [name for name in EXACT if name != "single"]
MINIBATCH = {"gpipe": 4, "1f1b": 4, "2bw": 4}


def chain(stages: int, recovery: float = 10.0, failure_every: float = math.inf, every: float = math.inf) -> Network:
    devices = [Device(Costs(1, 1, 1, synthesize=0.1), failure_every=failure_every, recovery=recovery)] * stages
    return Network(devices, [Link(latency=0.5)] * stages, coordinator=Coordinator(checkpoint_every=every))


def after_losses(name: str, losses: dict[float, int], settings: Settings | None = None) -> Simulation:
    """Five stages and 200 microbatches to the end; at these times these stages lose their workers."""
    simulation = Simulation(
        lambda place: make(name, place, settings or Settings()),
        chain(5, every=50.0),
        minibatch=MINIBATCH.get(name, 1),
        microbatches=200,
    )
    recovery = Recovery(simulation, rolls_back=name in EXACT)
    for when, stage in losses.items():
        simulation.at(when, partial(recovery.fail, simulation.nodes[stage + 1]))
    simulation.run()
    return simulation


@pytest.mark.parametrize("name", BACKPROP)
@pytest.mark.parametrize("losses", [{5.0: 2}, {130.0: 0}, {130.0: 4, 135.0: 1}, {100.0: 2, 101.0: 2, 300.0: 3}])
def test_after_a_rollback_every_microbatch_has_been_learnt_from_once_by_every_stage(name: str, losses: dict[float, int]) -> None:
    simulation = after_losses(name, losses)

    learnt = [node.tally.trained - node.tally.undone for node in simulation.nodes[1:]]
    assert learnt == [200] * 5


def test_a_rollback_makes_again_what_came_after_the_last_checkpoint() -> None:
    """Lockstep takes 14 for a microbatch. One waits before the marker of 139, so at 154 the state after 11 is saved."""
    network = Network([Device(Costs(1, 1, 1))] * 5, [Link()] * 5, coordinator=Coordinator(checkpoint_every=139.0))
    simulation = Simulation(named("lockstep"), network, window=1)
    recovery = Recovery(simulation, rolls_back=True)
    simulation.at(154 + 3 * 14 + 1, partial(recovery.fail, simulation.nodes[3]))

    simulation.run(200)

    assert [node.tally.undone for node in simulation.nodes[1:]] == [3] * 5


OVERFLOWS: list[Overflow] = ["block", "drop-oldest", "latest"]
FEEDBACKS: list[Feedback] = ["chained", "bootstrapped", "adaptive", "corrected"]


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("losses", [{20.0: 2}, {130.0: 0}, {130.0: 4}, {130.0: 1, 131.0: 2, 160.0: 2}, {100.0: 3, 590.0: 1}])
def test_under_dni_the_run_ends_and_the_others_have_gone_on(
    overflow: Overflow, feedback: Feedback, losses: dict[float, int]
) -> None:
    simulation = after_losses("dni", losses, Settings(feedback=feedback, overflow=overflow))

    undone = [node.tally.undone for node in simulation.nodes[1:]]
    assert all(undone[stage] == 0 for stage in range(5) if stage not in losses.values())
    if 0 not in losses.values():
        assert simulation.nodes[1].tally.trained == 200


def trained_meanwhile(overflow: Overflow) -> tuple[int, int]:
    """By the first and the last of five stages while the middle one is away for 300 units of time."""
    simulation = Simulation(lambda place: make("dni", place, Settings(overflow=overflow)), chain(5, recovery=300.0))
    recovery = Recovery(simulation, rolls_back=False)
    simulation.at(300.0, partial(recovery.fail, simulation.nodes[3]))
    simulation.run(300.0)
    before = [node.tally.trained for node in simulation.nodes]
    simulation.run(600.0)
    return simulation.nodes[1].tally.trained - before[1], simulation.nodes[5].tally.trained - before[5]


def test_while_a_stage_is_away_those_before_it_go_on_as_their_overflow_says() -> None:
    (blocked, starved), (free, starved_too) = trained_meanwhile("block"), trained_meanwhile("drop-oldest")

    assert blocked < 30  # two inboxes and what is on its way
    assert free > 90
    assert starved < 10
    assert starved_too < 10


def test_a_checkpoint_takes_as_long_as_the_coordinator_needs_for_all_states() -> None:
    network = Network(
        [Device(Costs(0.01, 0.01, 0.01))] * 10,
        [Link()] * 10,
        Sizes(state=6.0),
        Coordinator(download=2.0, checkpoint_every=200.0),
    )

    found = figures(named("lockstep"), network, 800, rolls_back=True)

    assert found.checkpoint_time == pytest.approx(10 * 6.0 / 2.0, rel=0.1)
    assert found.saving_busy == pytest.approx(30 / 200, rel=0.1)


def test_a_rollback_waits_until_every_stage_has_its_state_again() -> None:
    network = Network([Device(Costs(1, 1, 1))] * 10, [Link()] * 10, Sizes(state=6.0), Coordinator(upload=2.0))
    simulation = Simulation(named("lockstep"), network)
    recovery = Recovery(simulation, rolls_back=True)
    simulation.at(100.0, partial(recovery.fail, simulation.nodes[1]))

    simulation.run(100 + 9 * 3.0 + 1)
    assert simulation.nodes[10].schedule is None
    simulation.run(100 + 10 * 3.0 + 1)
    assert simulation.nodes[10].schedule is not None


def of_one_device(rolls_back: bool, every: float) -> Figures:
    network = Network(
        [Device(Costs(1, 1, 1), failure_every=1000.0, recovery=100.0)], [Link()], coordinator=Coordinator(checkpoint_every=every)
    )
    return figures(named("lockstep"), network, 400_000, rolls_back)


@pytest.mark.parametrize("rolls_back", [True, False])
def test_one_device_works_while_it_is_there_and_loses_half_an_interval_each_time(rolls_back: bool) -> None:
    found = of_one_device(rolls_back, every=200.0)

    there = 1000 / 1100
    assert found.utilisation == pytest.approx(there, rel=0.03)
    assert found.undone == pytest.approx(100 / 1000, rel=0.2)
    assert found.rate == pytest.approx(there * (1 - found.undone) / 2, rel=0.03)


def test_every_schedule_has_the_same_failures() -> None:
    network = chain(4, failure_every=200.0, every=50.0)

    counts = {figures(named(name), network, 3000, name in EXACT, seed=3).failures for name in ("dni", "lockstep", "async1f1b")}

    assert len(counts) == 1


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_a_network_that_fails_all_the_time_goes_on(seed: int, feedback: Feedback) -> None:
    network = chain(6, recovery=20.0, failure_every=150.0, every=40.0)

    found = figures(
        lambda place: make("dni", place, Settings(feedback=feedback, overflow="drop-oldest")), network, 4000, False, seed=seed
    )

    assert found.failures > 50
    assert all(stage.utilisation > 0.2 for stage in found.stages)
