"""Links and uploads carry what is sent over them one after the other."""

import pytest

from decoupled.schedules.catalogue import async1f1b, local
from decoupled.simulator.figures import figures
from decoupled.simulator.network import Costs, Device, Link, Network, Sizes
from decoupled.simulator.timeline import forecast
from decoupled.simulator.wires import Way, Wire
from tests.schedules.driving import named


def test_a_message_waits_for_those_before_it_and_then_takes_the_latency() -> None:
    way = Way([Wire(2.0)], latency=3.0)

    assert [way.arrival(4.0, now) for now in (0.0, 0.0, 10.0)] == [5.0, 7.0, 15.0]


def test_nothing_overtakes_whatever_the_jitter() -> None:
    late = iter([9.0, 0.0, 2.0])
    way = Way([], 1.0, lambda: next(late))

    assert [way.arrival(0.0, now) for now in (0.0, 1.0, 20.0)] == [10.0, 10.0, 23.0]


def test_what_is_lost_leaves_the_wire_free() -> None:
    wire = Wire(1.0)
    wire.carry(10.0, now=0.0)
    wire.clear(now=4.0)

    assert wire.busy == 4.0
    assert wire.carry(1.0, now=5.0) == 6.0


def test_lockstep_waits_for_every_byte() -> None:
    """10 microbatches, each over 2 hops down and 2 up, of 4 and of 6 units of time."""
    sizes, links = Sizes(activation=8.0, gradient=12.0), [Link(), Link(bandwidth=2.0), Link(bandwidth=2.0)]

    found = forecast(named("lockstep"), Network([Device(Costs(1, 1, 1))] * 3, links, sizes), 8, 1, 10)

    assert found.makespan == pytest.approx(10 * (3 + 5 + 2 * 4 + 2 * 6))


def test_a_decoupled_network_is_as_fast_as_its_narrowest_link() -> None:
    network = Network([Device(Costs(1, 1, 1))] * 4, [Link(), Link(), Link(bandwidth=0.2), Link()], Sizes(activation=1.0))

    assert figures(local, network, 4000, rolls_back=False).rate == pytest.approx(1 / 5, rel=0.02)


def test_activations_and_gradients_share_a_devices_upload() -> None:
    """Backprop sends both from every stage in the middle, so one upload of 0.4 carries a fifth of a microbatch of each."""
    sizes = Sizes(activation=1.0, gradient=1.0)
    network = Network([Device(Costs(1, 1, 1), upload=0.4)] * 4, [Link()] * 4, sizes)

    found = figures(lambda place: async1f1b(place, extra=8), network, 4000, rolls_back=True, window=16)

    assert found.rate == pytest.approx(1 / 5, rel=0.02)
