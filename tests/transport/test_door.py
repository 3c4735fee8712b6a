"""Links with keys, over real sockets: they are encrypted, both ends are who they should be, and strangers get nothing."""

import time

import numpy as np
import pytest
import zmq

from decoupled.errors import RunFailed
from decoupled.transport.interface import Disconnected, Limits, Received
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.codec import encode
from decoupled.wire.messages import Kind, Message
from tests.transport.sockets import ADDRESSES, Sockets, fresh_keys, mechanisms, receive, until, until_lost
from tests.wire.frames import as_sent

MARK = b"an activation that nobody else may see"
ACTIVATION = Message(Kind.ACTIVATION, tensors=(np.frombuffer(MARK, np.uint8),))


class Side:
    """An inbox with keys, and somebody whom it lets in."""

    def __init__(self, sockets: Sockets, address: str = "tcp://127.0.0.1:*", limits: Limits | None = None) -> None:
        self.keys, self.known = fresh_keys(), fresh_keys()
        self.bound, self._sockets = sockets.transport(limits, self.keys), sockets
        self.where = self.bound.bind(sockets.file if address == "ipc" else address)
        self.bound.admit([self.known.public])

    def call(
        self, name: str = "caller", keys: Keys | None = None, key: str | None = None, limits: Limits | None = None
    ) -> ZeroMQ:
        """A transport with a link to the inbox; by default one with the keys that it should have."""
        caller = self._sockets.transport(limits, keys or self.known)
        caller.connect("bound", self.where, name, self.keys.public if key is None else key)
        return caller


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


def quiet(*transports: ZeroMQ, seconds: float = 0.3) -> list[object]:
    """What the first hears in so many seconds, in which nothing should come."""
    heard: list[object] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        heard += [arrival for transport in transports for arrival in transport.poll(0.01)]
    return heard


def test_a_key_that_is_not_known_is_refused_at_once_and_named_in_the_log(sockets: Sockets) -> None:
    side, unknown = Side(sockets), fresh_keys()
    caller = side.call(keys=unknown)
    caller.send("bound", ACTIVATION)

    with pytest.raises(RunFailed, match=r"refused this process, because it does not know its public key\.$"):
        until(lambda _: False, caller, side.bound)

    assert quiet(side.bound) == []
    assert side.bound.bytes_received == 0
    assert sockets.log == [f"refused 127.0.0.1: its public key {unknown.public} is not known here."]


def test_a_stranger_with_a_valid_handshake_but_an_unknown_key_hears_nothing(sockets: Sockets) -> None:
    side, unknown = Side(sockets), fresh_keys()
    raw = sockets.stranger(side.where, unknown, side.keys.public)
    raw.send_multipart(as_sent(Message(Kind.JOIN)))

    until(lambda _: bool(sockets.log), side.bound)

    assert quiet(side.bound) == []
    assert not raw.poll(0)
    assert side.bound.bytes_received == side.bound.refused == 0
    assert unknown.public in sockets.log[0]


def test_a_plain_socket_hears_nothing_and_is_named_in_the_log(sockets: Sockets) -> None:
    side = Side(sockets)
    raw = sockets.stranger(side.where)
    raw.send_multipart(as_sent(Message(Kind.JOIN)))

    until(lambda _: bool(sockets.log), side.bound)

    assert quiet(side.bound) == []
    assert not raw.poll(0)
    assert side.bound.bytes_received == side.bound.refused == 0
    assert sockets.log[0].startswith(f"refused a connection to {side.where}: it ")


def test_a_peer_with_another_key_than_expected_is_not_trusted(sockets: Sockets) -> None:
    """Someone sits at the coordinator's address, lets everyone in, and has not the coordinator's key."""
    side, expected = Side(sockets), fresh_keys()
    caller = side.call(key=expected.public)
    caller.send("bound", ACTIVATION)

    with pytest.raises(RunFailed, match=r"breaks off every handshake: it has another key than is expected of it"):
        until(lambda _: False, caller, side.bound)

    assert side.bound.bytes_received == 0
    assert sockets.log[0] == f"refused a connection to {side.where}: it does not know this side's public key."


def test_a_side_with_keys_says_nothing_to_one_without(sockets: Sockets) -> None:
    bound, caller = sockets.transport(), sockets.transport(keys=fresh_keys())
    tap = sockets.tap(bound.bind("tcp://127.0.0.1:*"))
    caller.connect("bound", tap.address, "caller", fresh_keys().public)
    caller.send("bound", ACTIVATION)

    with pytest.raises(
        RunFailed, match=r"runs without keys and this process with|has another key than is expected of it, or none"
    ):
        until(lambda _: False, caller, bound, tap)

    assert MARK not in tap.heard
    assert bound.bytes_received == 0


def test_a_side_without_keys_is_told_that_it_needs_them(sockets: Sockets) -> None:
    side, caller = Side(sockets), sockets.transport()
    caller.connect("bound", side.where, "caller")
    caller.send("bound", ACTIVATION)

    with pytest.raises(RunFailed, match=r"runs with keys and this process without\. Start both with --keys|it may want keys"):
        until(lambda _: False, caller, side.bound)

    assert side.bound.bytes_received == 0


def test_strangers_do_not_disturb_those_who_are_known(sockets: Sockets) -> None:
    side = Side(sockets)
    caller = side.call()
    strangers = [sockets.stranger(side.where, *secured) for secured in ((), (fresh_keys(), side.keys.public)) * 5]
    for raw in strangers:
        raw.send_multipart([b"x"] * 100)

    for number in range(50):
        caller.send("bound", Message(Kind.REPORT, microbatch=number))

    assert [arrival.message.microbatch for arrival in receive(50, side.bound, caller)] == list(range(50))


def test_many_refusals_are_a_line_a_second(sockets: Sockets) -> None:
    side, began = Side(sockets), time.monotonic()
    for _ in range(20):
        sockets.stranger(side.where, fresh_keys(), side.keys.public).send(b"")

    until(lambda _: any("more since the last line" in line for line in sockets.log), side.bound)
    took_s = time.monotonic() - began

    assert sockets.log[0].endswith("is not known here.")
    assert len(sockets.log) <= 1 + took_s


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


def test_an_idle_link_outlives_the_silence_that_is_allowed(sockets: Sockets) -> None:
    """Heartbeats are encrypted too."""
    limits = Limits(silence_s=0.2)
    side = Side(sockets, limits=limits)
    caller = side.call(limits=limits)
    caller.send("bound", Message(Kind.HELLO))
    receive(1, side.bound, caller)

    assert quiet(side.bound, caller, seconds=1.0) == []


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
