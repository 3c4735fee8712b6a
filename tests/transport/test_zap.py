"""Links with keys, over real sockets: they are encrypted, and both ends are who they should be."""

import numpy as np
import pytest
import zmq

from decoupled.transport.interface import Disconnected, Limits, Received
from decoupled.wire.codec import encode
from decoupled.wire.messages import Kind, Message
from tests.transport.sides import ACTIVATION, MARK, Side, quiet
from tests.transport.sockets import ADDRESSES, Sockets, fresh_keys, mechanisms, receive, until, until_lost


@pytest.mark.parametrize("address", ADDRESSES)
def test_messages_go_both_ways_over_links_that_are_encrypted(sockets: Sockets, address: str) -> None:
    side = Side(sockets, address)
    caller = side.call()

    for number in range(100):
        caller.send("bound", Message(Kind.ACTIVATION, microbatch=number, tensors=(np.full(1000, number),)))
    heard = receive(100, side.bound, caller)
    side.bound.send("caller", Message(Kind.CREDIT))
    (answer,) = receive(1, caller, side.bound)

    assert [arrival.message.microbatch for arrival in heard] == list(range(100))
    assert all((arrival.message.tensors[0] == n).all() for n, arrival in enumerate(heard))
    assert answer.message.kind is Kind.CREDIT
    assert {arrival.key for arrival in heard} == {side.known.public}
    assert mechanisms(caller) == mechanisms(side.bound) == {zmq.CURVE}
    assert sockets.log == []


@pytest.mark.parametrize("has_keys", [False, True])
def test_who_listens_on_the_wire_hears_nothing_of_what_is_said(sockets: Sockets, has_keys: bool) -> None:
    keys, known = fresh_keys(), fresh_keys()
    bound, caller = (sockets.transport(keys=own if has_keys else None) for own in (keys, known))
    tap = sockets.tap(bound.bind("tcp://127.0.0.1:*"))
    bound.admit([known.public])
    caller.connect("bound", tap.address, "caller", keys.public)

    caller.send("bound", ACTIVATION)
    (arrival,) = receive(1, bound, caller, tap)

    assert arrival.message.tensors[0].tobytes() == MARK
    assert len(tap.heard) > len(MARK)
    assert (MARK in tap.heard) is not has_keys
    assert (b"activation" in tap.heard) is not has_keys


def test_nobody_is_let_in_before_it_is_known_who_may_and_nothing_is_lost(sockets: Sockets) -> None:
    bound, keys, known = sockets.transport(keys=(own := fresh_keys())), own, fresh_keys()
    caller = sockets.transport(keys=known)
    caller.connect("bound", bound.bind("tcp://127.0.0.1:*"), "caller", keys.public)
    caller.send("bound", ACTIVATION)

    assert quiet(bound, caller) == []
    bound.admit([known.public])

    assert receive(1, bound, caller)[0].message.tensors[0].tobytes() == MARK
    assert sockets.log == []


def test_who_gave_up_waiting_is_not_in_the_way_of_those_who_did_not(sockets: Sockets) -> None:
    own, known = fresh_keys(), fresh_keys()
    bound = sockets.transport(keys=own)
    where = bound.bind("tcp://127.0.0.1:*")
    callers = [sockets.transport(keys=known) for _ in range(5)]
    for number, caller in enumerate(callers):
        caller.connect("bound", where, f"caller-{number}", own.public)
        caller.send("bound", Message(Kind.HELLO))
    assert quiet(bound, *callers) == []
    for caller in callers[:-1]:
        caller.close()

    bound.admit([known.public])

    assert [arrival.peer for arrival in receive(1, bound, callers[-1])] == ["caller-4"]


def test_who_claims_anothers_key_is_still_known_by_the_own_one(sockets: Sockets) -> None:
    side, other = Side(sockets), fresh_keys()
    side.bound.admit([other.public])
    first, second = side.call("one"), side.call("two", keys=other)

    first.send("bound", Message(Kind.JOIN, body={"key": other.public}))
    second.send("bound", Message(Kind.JOIN, body={"key": side.known.public}))
    heard = receive(2, side.bound, first, second)

    assert {(arrival.peer, arrival.key) for arrival in heard} == {("one", side.known.public), ("two", other.public)}


def test_who_comes_again_with_the_same_key_is_let_in_again(sockets: Sockets) -> None:
    side = Side(sockets)
    for name in ("before", "after"):
        caller = side.call(name)
        caller.send("bound", Message(Kind.JOIN))
        (arrival,) = receive(1, side.bound, caller)
        caller.close()

        assert (arrival.peer, arrival.key) == (name, side.known.public)
        until_lost(name, side.bound)


def test_a_link_can_be_moved_to_a_peer_elsewhere_with_a_key_of_its_own(sockets: Sockets) -> None:
    old, new, caller_keys = Side(sockets), Side(sockets), fresh_keys()
    caller = old.call(keys=old.known)
    new.bound.admit([old.known.public, caller_keys.public])
    caller.send("bound", Message(Kind.ACTIVATION, microbatch=1))
    receive(1, old.bound, caller)

    caller.connect("bound", new.where, "caller", new.keys.public)
    caller.send("bound", Message(Kind.ACTIVATION, microbatch=2))
    (arrival,) = receive(1, new.bound, caller)

    assert arrival.message.microbatch == 2
    assert until_lost("caller", old.bound, caller) == [Disconnected("caller")]
    assert quiet(caller) == []  # the old link is not missed


def test_a_link_can_be_moved_again_and_again(sockets: Sockets) -> None:
    """Also while libzmq has news of the link that is left."""
    sides, caller = [Side(sockets), Side(sockets)], sockets.transport(keys=(keys := fresh_keys()))
    for side in sides:
        side.bound.admit([keys.public])

    for number in range(100):
        side = sides[number % 2]
        caller.connect("bound", side.where, f"caller-{number}", side.keys.public)
        side.bound.poll(0)
    caller.send("bound", Message(Kind.HELLO))

    last = until(lambda heard: any(isinstance(arrival, Received) for arrival in heard), sides[1].bound, caller, sides[0].bound)
    assert [arrival.peer for arrival in last if isinstance(arrival, Received)] == ["caller-99"]


def test_an_idle_link_outlives_the_silence_that_is_allowed(sockets: Sockets) -> None:
    """Heartbeats are encrypted too."""
    limits = Limits(silence_s=0.5)
    side = Side(sockets, limits=limits)
    caller = side.call(limits=limits)
    caller.send("bound", Message(Kind.HELLO))
    receive(1, side.bound, caller)

    assert quiet(side.bound, caller, seconds=1.5) == []


def test_the_largest_message_still_passes_when_it_is_encrypted(sockets: Sockets) -> None:
    """Encryption adds 33 bytes to a frame, and the header, which counts as well, is always longer than that."""

    def of(size: int) -> Message:
        return Message(Kind.RESULT, tensors=(np.zeros(size, np.uint8),))

    limits = Limits(message_bytes_max=100_000)
    side = Side(sockets, limits=limits)
    caller = side.call(limits=limits)
    header = len(encode(of(99_000))[0])
    largest = of(limits.message_bytes_max - header)

    caller.send("bound", largest)
    heard = receive(1, side.bound, caller)

    assert isinstance(heard[0], Received)
    assert heard[0].message.tensors[0].nbytes == largest.tensors[0].nbytes
