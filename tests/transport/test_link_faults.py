"""Faults of single links, with a beginning and an end, and wires that carry so many bytes a second."""

import numpy as np
import pytest

from decoupled.transport.faulty import LinkFault
from decoupled.transport.interface import Disconnected, Received
from decoupled.wire.messages import Kind, Message
from tests.transport.hampered import Link


def test_a_partition_holds_what_one_peer_says_and_lets_the_others_through() -> None:
    link = Link(link_faults=[LinkFault(holds=True, peer="near", from_microbatch=2, seconds=5)])
    link.arrive(0, 1, peer="nearby")
    assert link.heard() == [0, 1]

    link.arrive(2, 3, peer="nearby")
    link.arrive(7, peer="far")
    assert link.heard() == [7]
    link.now += 4.9
    link.arrive(4, peer="nearby")
    assert link.heard() == []
    link.now += 0.1
    assert link.heard() == [2, 3, 4]
    link.arrive(5, peer="nearby")
    assert link.heard() == [5], "it has healed, and does not come back"


def test_a_delay_begins_with_its_microbatch_and_ends_in_time() -> None:
    link = Link(link_faults=[LinkFault(latency_s=1, from_microbatch=1, seconds=3)])
    link.arrive(0)
    assert link.heard() == [0]

    link.arrive(1)
    assert link.heard() == []
    link.now += 1
    assert link.heard() == [1]
    link.now += 2
    link.arrive(2)
    assert link.heard() == [2]


def test_who_comes_after_the_microbatch_is_spared() -> None:
    """A worker that takes the place of one that is lost does not go through the same again."""
    link = Link(link_faults=[LinkFault(holds=True, from_microbatch=5, seconds=9)])
    link.arrive(6)
    link.arrive(7)

    assert link.heard() == [6, 7]


def test_link_faults_add_up() -> None:
    link = Link(link_faults=[LinkFault(latency_s=1), LinkFault(latency_s=2, peer="pee"), LinkFault(latency_s=4, peer="far")])
    link.arrive(0)
    link.faulty.poll(0)
    link.now += 2.9
    assert link.heard() == []

    link.now += 0.1
    assert link.heard() == [0]


@pytest.mark.parametrize("link_fault", [LinkFault(latency_s=1.0), LinkFault(holds=True, seconds=1.0)], ids=["late", "held"])
def test_the_end_of_a_link_comes_after_all_that_was_held_of_it_and_once(link_fault: LinkFault) -> None:
    """Also when another link to the same process has begun by then."""
    link = Link(link_faults=[link_fault])
    link.arrive(0, peer="down-1")
    link.faulty.poll(0)
    link.arrive(1, peer="down-1")
    link.inner.arrived.append(Disconnected("down-1"))
    link.arrive(2, peer="down-2")
    link.faulty.poll(0)

    link.now += 1.0
    heard = link.faulty.poll(0)
    link.now += 1.0

    of_the_first = [arrival for arrival in heard if arrival.peer == "down-1"]
    assert [type(arrival) for arrival in of_the_first][-1] is Disconnected
    assert heard.count(Disconnected("down-1")) == 1
    assert link.faulty.poll(0) == []


def with_arrays(m: int, mb: float) -> Received:
    """A message of about so many megabytes."""
    return Received("peer", Message(Kind.ACTIVATION, microbatch=m, tensors=(np.zeros(int(mb * 1e6), np.uint8),)))


def due(link: Link, numbers: int, step_s: float = 0.001, seconds: float = 5.0) -> list[float]:
    """When each of so many messages is handed over, after now."""
    begun, found = link.now, dict[int, float]()
    while len(found) < numbers and link.now < begun + seconds:
        for m in link.heard():
            found[m] = link.now - begun
        link.now += step_s
    return [found[m] for m in range(numbers)]


def test_a_wire_carries_one_message_after_the_other_and_then_they_take_the_latency() -> None:
    link = Link(link_faults=[LinkFault(latency_s=0.5, bytes_per_s=1e6)])
    link.inner.arrived += [with_arrays(0, 1.0), with_arrays(1, 0.25)]

    assert due(link, 2) == pytest.approx([1.5, 1.75], abs=0.005)


def test_a_wire_that_has_been_idle_begins_anew() -> None:
    link = Link(link_faults=[LinkFault(bytes_per_s=1e6)])
    link.inner.arrived.append(with_arrays(0, 0.5))
    assert due(link, 1) == pytest.approx([0.5], abs=0.005)
    link.now += 10
    link.inner.arrived.append(with_arrays(0, 0.5))

    assert due(link, 1) == pytest.approx([0.5], abs=0.005)


def test_jitter_is_up_to_its_bound_and_overtakes_nothing() -> None:
    link = Link(link_faults=[LinkFault(latency_s=0.1, jitter_s=0.2)])
    link.arrive(*range(50))
    found = due(link, 50)

    assert found == sorted(found)
    assert 0.1 <= found[0] < found[-1] <= 0.301


def test_what_has_to_be_sent_again_takes_a_round_trip_more() -> None:
    link = Link(link_faults=[LinkFault(latency_s=0.1, loss=0.5)], seed=1)
    found = []
    for _ in range(40):
        link.arrive(0)
        found.append(round(due(link, 1)[0], 2))

    assert set(found) == {0.1, 0.3}
    assert 8 < found.count(0.3) < 32
