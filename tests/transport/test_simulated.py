"""The simulated network: its own clock, its seeded faults, and what they may not touch."""

import numpy as np
import pytest

from decoupled.errors import RunFailed
from decoupled.transport.interface import Limits, Received
from decoupled.transport.simulated import Faults
from decoupled.wire.codec import WireError
from decoupled.wire.messages import Kind, Message
from tests.transport.simulation import FACTS, HINTS, numbers, pair


def delivered(seed: int, faults: Faults, kind: Kind, count: int = 200) -> list[tuple[float, int]]:
    """When each of so many messages arrives, with the clock moved from one delivery to the next."""
    network, upper, lower = pair(seed, faults)
    for number in range(count):
        upper.send("lower", Message(kind, microbatch=number))
    log = []
    while (due := network.next_due()) is not None:
        network.now = due
        log += [(due, number) for number in numbers(lower)]
    return log


def test_a_message_arrives_under_the_name_its_sender_chose_and_can_be_answered() -> None:
    _, upper, lower = pair()

    upper.send("lower", Message(Kind.HELLO, microbatch=1))
    (hello,) = lower.poll(0)
    lower.send(hello.peer, Message(Kind.WINDOW, microbatch=2))
    (answer,) = upper.poll(0)

    assert hello.peer == "upper"
    assert answer.peer == "lower"


def test_messages_keep_their_order() -> None:
    _, upper, lower = pair()

    for number in range(100):
        upper.send("lower", Message(FACTS if number % 2 else HINTS, microbatch=number))

    assert numbers(lower) == list(range(100))


@pytest.mark.parametrize("kind", [HINTS, FACTS])
def test_a_message_arrives_when_its_latency_has_passed_and_not_before(kind: Kind) -> None:
    network, upper, lower = pair(faults=Faults(latency_s=0.5))
    network.now = 10.0
    upper.send("lower", Message(kind, microbatch=3))

    network.now = 10.49
    early = numbers(lower)
    network.now = 10.5

    assert early == []
    assert network.next_due() == 10.5
    assert numbers(lower) == [3]


FAULTS = Faults(latency_s=0.1, jitter_s=0.3, drop=0.2, duplicate=0.2)


def test_the_same_seed_gives_the_same_deliveries_and_another_gives_others() -> None:
    first, again, other = (delivered(seed, FAULTS, HINTS) for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_faults_strike_gradients() -> None:
    struck = [number for _, number in delivered(0, FAULTS, HINTS)]

    assert 20 < 200 - len(set(struck)) < 60  # a fifth is lost
    assert 15 < len(struck) - len(set(struck)) < 60  # a fifth of the rest comes twice
    assert struck == sorted(struck)  # a link keeps order


def test_gradients_are_late_by_no_more_than_the_jitter_and_keep_their_order() -> None:
    log = delivered(0, Faults(latency_s=0.1, jitter_s=0.3), HINTS)

    assert 0.1 < min(when for when, _ in log) < max(when for when, _ in log) <= 0.4
    assert [number for _, number in log] == list(range(200))


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.GRADIENT])
def test_faults_spare_everything_else(kind: Kind) -> None:
    assert delivered(0, FAULTS, kind, count=50) == [(0.1, number) for number in range(50)]


def test_a_partition_holds_messages_until_it_heals() -> None:
    network, upper, lower = pair()
    network.partitioned.add(frozenset("ab"))
    for number in range(5):
        upper.send("lower", Message(FACTS, microbatch=number))

    cut = numbers(lower)
    network.partitioned.clear()

    assert cut == []
    assert numbers(lower) == [0, 1, 2, 3, 4]


def test_a_partition_cuts_both_ways_and_only_its_pair() -> None:
    network, upper, lower = pair()
    third = network.endpoint()
    third.bind("c")
    third.connect("lower", "b", "third")
    network.partitioned.add(frozenset("ab"))

    upper.send("lower", Message(FACTS, microbatch=1))
    lower.send("upper", Message(FACTS, microbatch=2))
    third.send("lower", Message(FACTS, microbatch=3))

    assert numbers(upper) == []
    assert numbers(lower) == [3]


def test_what_a_partition_holds_is_not_due() -> None:
    """Or whoever moves the clock from one delivery to the next would stand still for ever."""
    network, upper, _ = pair(faults=Faults(latency_s=0.5))
    upper.send("lower", Message(FACTS))

    network.partitioned.add(frozenset("ab"))
    held = network.next_due()
    network.partitioned.clear()

    assert held is None
    assert network.next_due() == 0.5


def test_received_arrays_are_copies_that_cannot_be_written() -> None:
    _, upper, lower = pair()
    sent = np.arange(3.0)
    upper.send("lower", Message(FACTS, tensors=(sent,)))

    (arrival,) = lower.poll(0)
    assert isinstance(arrival, Received)
    (came,) = arrival.message.tensors

    assert came.tolist() == [0, 1, 2]
    assert not came.flags.writeable
    assert not np.shares_memory(came, sent)


def test_what_the_wire_refuses_does_not_travel_here_either() -> None:
    _, upper, lower = pair()

    with pytest.raises(WireError, match="an array of object"):
        upper.send("lower", Message(FACTS, tensors=(np.array([None]),)))
    assert lower.poll(0) == []


def test_a_queue_that_is_full_holds_the_rest_back_and_loses_nothing() -> None:
    _, upper, lower = pair()
    upper.limits = Limits(high_water_mark=2)
    for number in range(5):
        upper.send("lower", Message(FACTS, microbatch=number))

    first = numbers(lower)
    upper.poll(0)

    assert (first, numbers(lower)) == ([0, 1], [2, 3])


def test_a_message_over_the_limit_is_refused_at_both_ends() -> None:
    _, upper, lower = pair()
    lower.limits = Limits(message_bytes_max=1000)
    upper.send("lower", Message(FACTS, tensors=(np.zeros(1000),)))
    upper.limits = Limits(message_bytes_max=1000)

    assert lower.poll(0) == []
    with pytest.raises(RunFailed, match="message_bytes_max"):
        upper.send("lower", Message(FACTS, tensors=(np.zeros(1000),)))


def test_what_an_endpoint_sends_while_it_computes_leaves_when_it_is_done() -> None:
    network, upper, lower = pair()
    network.busy_until["a"] = 3.0
    upper.send("lower", Message(FACTS, microbatch=1))

    assert network.next_due() == 3.0
    network.now = 3.0
    assert numbers(lower) == [1]
