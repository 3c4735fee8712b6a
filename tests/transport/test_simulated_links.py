"""Links of the simulated network: they are ended, break, are refused and made again, and their ends hear of it."""

from decoupled.transport.interface import Disconnected, Received
from decoupled.transport.simulated import Faults
from decoupled.wire.messages import Message
from tests.transport.simulation import FACTS, numbers, pair, three


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
