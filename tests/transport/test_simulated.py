"""The simulated network: its own clock, its seeded faults, and what they may not touch."""

import numpy as np
import pytest

from decoupled.errors import RunFailed
from decoupled.transport.interface import Disconnected, Limits, Received
from decoupled.transport.simulated import Faults, SimulatedNetwork, SimulatedTransport
from decoupled.wire.codec import WireError
from decoupled.wire.messages import Kind, Message

HINTS, FACTS = Kind.GRADIENT, Kind.ACTIVATION


def pair(seed: int = 0, faults: Faults | None = None) -> tuple[SimulatedNetwork, SimulatedTransport, SimulatedTransport]:
    """A network with `upper`, which is linked to `lower` as its peer "lower"."""
    network = SimulatedNetwork(seed, faults)
    upper, lower = network.endpoint(), network.endpoint()
    upper.bind("a")
    lower.bind("b")
    upper.limits = Limits(high_water_mark=1000)
    upper.connect("lower", "b", "upper")
    return network, upper, lower


def numbers(endpoint: SimulatedTransport) -> list[int]:
    """The microbatches of what has arrived."""
    return [arrival.message.microbatch for arrival in endpoint.poll(0) if isinstance(arrival, Received)]


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


def test_a_message_is_delivered_once() -> None:
    _, upper, lower = pair()
    upper.send("lower", Message(FACTS, microbatch=3))

    assert numbers(lower) == [3]
    assert numbers(lower) == []


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


def three() -> tuple[SimulatedNetwork, SimulatedTransport, SimulatedTransport, SimulatedTransport]:
    """A network with `middle`, which is linked to `lower`, and `upper`, which is linked to `middle`."""
    network = SimulatedNetwork()
    upper, middle, lower = (network.endpoint() for _ in range(3))
    for endpoint, address in ((upper, "a"), (middle, "b"), (lower, "c")):
        endpoint.bind(address)
    upper.connect("below", "b", "above")
    middle.connect("below", "c", "above")
    return network, upper, middle, lower


def test_a_link_that_is_ended_brings_its_caller_nothing_more_and_the_other_side_at_most_what_was_under_way() -> None:
    network, upper, lower = pair(faults=Faults(latency_s=0.5))
    upper.send("lower", Message(FACTS, microbatch=1))
    lower.send("upper", Message(FACTS, microbatch=2))

    upper.disconnect("lower")
    upper.send("lower", Message(FACTS, microbatch=3))
    lower.send("upper", Message(FACTS, microbatch=4))
    network.now = 1.0

    assert upper.poll(0) == []
    heard = lower.poll(0)
    assert Disconnected("upper") in heard
    assert {a.message.microbatch for a in heard if isinstance(a, Received)} <= {1}
    assert network.next_due() is None


def test_a_link_that_is_ended_takes_no_other_with_it() -> None:
    _, upper, middle, lower = three()
    upper.send("below", Message(FACTS, microbatch=1))
    middle.send("below", Message(FACTS, microbatch=2))
    middle.send("above", Message(FACTS, microbatch=3))

    middle.disconnect("below")
    middle.disconnect("nobody")

    assert (numbers(upper), numbers(middle)) == ([3], [1])
    assert set(numbers(lower)) <= {2}


def test_by_a_new_link_the_same_two_can_talk_again() -> None:
    _, upper, lower = pair()
    upper.send("lower", Message(FACTS, microbatch=1))
    upper.disconnect("lower")

    upper.connect("lower", "b", "upper-2")
    upper.send("lower", Message(FACTS, microbatch=2))
    heard = lower.poll(0)[-1]
    lower.send("upper-2", Message(FACTS, microbatch=3))
    lower.send("upper", Message(FACTS, microbatch=4))

    assert heard.peer == "upper-2"
    assert numbers(upper) == [3]


def test_whoever_was_linked_to_one_that_crashed_hears_of_it_once_by_the_name_they_know() -> None:
    network, upper, middle, lower = three()

    network.crash("b")

    assert upper.poll(0) == [Disconnected("below")]
    assert lower.poll(0) == [Disconnected("above")]
    assert (upper.poll(0), lower.poll(0), middle.poll(0)) == ([], [], [])


def test_what_it_said_before_comes_before_the_news_and_what_is_said_to_it_is_lost() -> None:
    network, upper, middle, lower = three()
    middle.send("below", Message(FACTS, microbatch=1))
    upper.send("below", Message(FACTS, microbatch=2))

    network.crash("b")
    upper.send("below", Message(FACTS, microbatch=3))
    lower.send("above", Message(FACTS, microbatch=4))
    heard = lower.poll(0)

    assert [type(arrival) for arrival in heard] == [Received, Disconnected]
    assert numbers(middle) == []


def test_two_that_crash_together_leave_nothing_that_is_still_due() -> None:
    """Or whoever moves the clock from one delivery to the next would stand still for ever."""
    network, upper, middle, lower = three()
    for sender, peer in ((upper, "below"), (middle, "below"), (lower, "above")):
        sender.send(peer, Message(FACTS))

    for address in "bc":
        network.crash(address)

    assert upper.poll(0) == [Disconnected("below")]
    assert network.next_due() is None


def test_another_can_be_linked_to_in_the_place_of_one_that_crashed() -> None:
    network, upper, _, _ = three()
    successor = network.endpoint()
    successor.bind("d")
    network.crash("b")

    upper.disconnect("below")
    upper.connect("below", "d", "above")
    upper.send("below", Message(FACTS, microbatch=5))

    assert numbers(successor) == [5]
    assert upper.poll(0) == [], "the news was of a link that is no more"


def test_a_connection_that_is_reset_loses_a_part_of_what_is_under_way_and_both_ends_hear_of_it() -> None:
    arrived = set()
    for seed in range(20):
        network, upper, lower = pair(seed)
        for number in range(5):
            upper.send("lower", Message(FACTS, microbatch=number))
            lower.send("upper", Message(FACTS, microbatch=number))
        network.reset("a", "b")
        for endpoint, peer in ((upper, "lower"), (lower, "upper")):
            heard = endpoint.poll(0)
            kept = [a.message.microbatch for a in heard if isinstance(a, Received)]
            assert Disconnected(peer) in heard
            assert kept == list(range(len(kept))), "what arrives is what was sent first"
            arrived.add(len(kept))

    assert {0, 5} < arrived


def test_while_connections_are_refused_a_caller_is_heard_later_and_nobody_can_answer_it() -> None:
    network, upper, lower = pair()
    network.reset("a", "b", refuse_s=2.0)
    upper.poll(0), lower.poll(0)
    upper.connect("lower-2", "b", "upper-2")
    upper.send("lower-2", Message(FACTS, microbatch=1))
    lower.send("upper-2", Message(FACTS, microbatch=2))

    before = numbers(lower)
    network.now = 2.0
    after = numbers(lower)
    lower.send("upper-2", Message(FACTS, microbatch=3))

    assert (before, after, numbers(upper)) == ([], [1], [3])


def test_the_news_of_a_lost_connection_can_come_behind_what_a_new_one_brings() -> None:
    orders = set()
    for seed in range(20):
        network, upper, lower = pair(seed, Faults(latency_s=0.1, notice_s=1.0))
        network.reset("a", "b")
        upper.connect("lower-2", "b", "upper-2")
        upper.send("lower-2", Message(FACTS, microbatch=1))
        heard = []
        while (due := network.next_due()) is not None:
            network.now = due
            heard += [type(arrival) for arrival in lower.poll(0)]
            upper.poll(0)
        orders.add(tuple(heard))

    assert orders == {(Received, Disconnected), (Disconnected, Received)}


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
