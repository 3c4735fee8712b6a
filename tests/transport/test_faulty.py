"""A worse network by choice: late, in order, and short of some gradients."""

import pytest

from decoupled.transport.interface import Disconnected, Limits, Received
from decoupled.wire.messages import Kind, Message
from tests.transport.hampered import Link


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


def test_what_is_late_from_a_link_whose_name_is_taken_by_another_never_comes() -> None:
    link = Link(latency_s=1.0)
    link.arrive(0)
    link.faulty.poll(0)

    link.faulty.connect("peer", "elsewhere", "me")
    link.arrive(1)
    link.faulty.poll(0)
    link.now += 1

    assert link.heard() == [1]


def test_what_is_late_from_a_peer_that_is_disconnected_never_comes() -> None:
    link = Link(latency_s=1.0)
    link.arrive(0)
    link.arrive(1, peer="other")
    link.faulty.poll(0)

    link.faulty.disconnect("peer")
    link.now += 1

    assert link.heard() == [1]
    assert ("disconnect", "peer") in link.inner.asked
