"""A worse network by choice: late, in order, and short of some gradients; the clock and the inner transport are the test's."""

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from decoupled.transport.faulty import FaultyTransport, LinkFault
from decoupled.transport.interface import Arrival, Disconnected, Limits, Received
from decoupled.wire.messages import Kind, Message


class Inner:
    """A transport that hands over what the test has put into it, and notes what it is asked."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.arrived: deque[Arrival] = deque()
        self.timeouts: list[float] = []
        self.asked: list[tuple[object, ...]] = []
        self.bytes_sent, self.bytes_received = 11, 22

    def bind(self, address: str) -> str:
        return f"{address}-bound"

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        self.asked.append(("connect", peer, address, name, key))

    def admit(self, keys: Iterable[str]) -> None:
        self.asked.append(("admit", *keys))

    def disconnect(self, peer: str) -> None:
        self.asked.append(("disconnect", peer))

    def send(self, peer: str, message: Message) -> None:
        self.asked.append(("send", peer, message))

    def poll(self, timeout_s: float) -> list[Arrival]:
        self.timeouts.append(timeout_s)
        arrivals = list(self.arrived)
        self.arrived.clear()
        return arrivals

    def close(self) -> None:
        self.asked.append(("close",))


class Link:
    """A faulty transport with its clock."""

    def __init__(self, latency_s: float = 0.0, drop: float = 0.0, seed: int = 0, link_faults: Sequence[LinkFault] = ()) -> None:
        self.now, self.inner = 100.0, Inner()
        self.faulty = FaultyTransport(self.inner, link_faults or [LinkFault(latency_s, drop)], seed, clock=lambda: self.now)

    def arrive(self, *numbers: int, kind: Kind = Kind.ACTIVATION, peer: str = "peer") -> None:
        self.inner.arrived += [Received(peer, Message(kind, microbatch=m)) for m in numbers]

    def heard(self, timeout_s: float = 0.0) -> list[int]:
        arrivals = self.faulty.poll(timeout_s)
        return [arrival.message.microbatch for arrival in arrivals if isinstance(arrival, Received)]


def survivors(drop: float, seed: int) -> list[int]:
    """Which of a thousand gradients are not lost."""
    link = Link(drop=drop, seed=seed)
    link.arrive(*range(1000), kind=Kind.GRADIENT)
    return link.heard()


def test_a_message_is_handed_over_when_its_latency_is_over_and_not_before() -> None:
    link = Link(latency_s=0.25)
    link.arrive(0)

    assert link.heard() == []
    link.now += 0.125
    assert link.heard() == []
    link.now += 0.125
    assert link.heard() == [0]
    assert link.heard() == []


def test_messages_keep_their_order_and_their_distance() -> None:
    link = Link(latency_s=1.0)
    heard = []
    for number in range(3):
        link.arrive(2 * number, 2 * number + 1)
        link.heard()
        link.now += 0.5
        heard.append(link.heard())
    link.now += 0.5
    heard.append(link.heard())

    assert heard == [[], [0, 1], [2, 3], [4, 5]]


def test_a_broken_link_is_told_after_what_came_before_it() -> None:
    link = Link(latency_s=1.0, drop=0.999)
    link.arrive(0)
    link.inner.arrived.append(Disconnected("peer"))
    assert link.faulty.poll(0) == []

    link.now += 1.0
    message, broken = link.faulty.poll(0)

    assert isinstance(message, Received)
    assert broken == Disconnected("peer")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.GRADIENT])
def test_only_gradients_get_lost(kind: Kind) -> None:
    link = Link(drop=0.999)
    link.arrive(*range(20), kind=kind)

    assert link.heard() == list(range(20))


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_about_the_share_that_was_asked_for_gets_lost(drop: float) -> None:
    assert len(survivors(drop, seed=1)) == pytest.approx(1000 * (1 - drop), abs=50)


def test_nothing_gets_lost_unless_asked_for() -> None:
    assert survivors(0.0, seed=1) == list(range(1000))


def test_the_same_seed_loses_the_same_and_another_loses_others() -> None:
    assert survivors(0.3, seed=1) == survivors(0.3, seed=1)
    assert survivors(0.3, seed=1) != survivors(0.3, seed=2)


@pytest.mark.parametrize(
    ("elapsed", "asked", "passed_on"),
    [
        (0.0, 5.0, 0.25),
        (0.125, 5.0, 0.125),
        (0.125, 0.0, 0.0),
        (0.125, 0.0625, 0.0625),
        (0.24975, 5.0, 0.001),  # rounded up, or a socket would be asked again and again
        (1.0, 5.0, 0.0),
    ],
)
def test_a_poll_waits_no_longer_than_until_the_next_message_is_due(elapsed: float, asked: float, passed_on: float) -> None:
    link = Link(latency_s=0.25)
    link.arrive(0)
    link.heard()
    link.now += elapsed

    link.heard(asked)

    assert link.inner.timeouts[-1] == pytest.approx(passed_on)


def test_a_poll_with_nothing_on_its_way_waits_as_long_as_it_may() -> None:
    link = Link(latency_s=0.25)

    link.heard(5.0)

    assert link.inner.timeouts == [5.0]


def test_everything_else_is_passed_on() -> None:
    link = Link(latency_s=1.0, drop=0.999)
    message, limits = Message(Kind.GRADIENT), Limits(high_water_mark=3)

    link.faulty.limits = limits
    link.faulty.connect("peer", "there", "me", "key")
    link.faulty.admit(["other"])
    link.faulty.send("peer", message)
    link.faulty.close()

    assert link.inner.limits is limits
    assert link.faulty.limits is limits
    assert link.faulty.bind("here") == "here-bound"
    assert (link.faulty.bytes_sent, link.faulty.bytes_received) == (11, 22)
    assert link.inner.asked == [
        ("connect", "peer", "there", "me", "key"),
        ("admit", "other"),
        ("send", "peer", message),
        ("close",),
    ]


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


def test_what_is_late_from_a_link_whose_name_is_taken_by_another_never_comes() -> None:
    link = Link(latency_s=1.0)
    link.arrive(0)
    link.faulty.poll(0)

    link.faulty.connect("peer", "elsewhere", "me")
    link.arrive(1)
    link.faulty.poll(0)
    link.now += 1

    assert link.heard() == [1]


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


def test_what_is_late_from_a_peer_that_is_disconnected_never_comes() -> None:
    link = Link(latency_s=1.0)
    link.arrive(0)
    link.arrive(1, peer="other")
    link.faulty.poll(0)

    link.faulty.disconnect("peer")
    link.now += 1

    assert link.heard() == [1]
    assert ("disconnect", "peer") in link.inner.asked


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
