"""Who has no key, or a wrong one, gets nothing over real sockets, is told why, and is named in the log."""

import time

import pytest
import zmq

from decoupled.errors import RunFailed
from decoupled.wire.messages import Kind, Message
from tests.transport.sides import ACTIVATION, MARK, Side, quiet, told
from tests.transport.sockets import Sockets, attempt, fresh_keys, receive, until
from tests.wire.frames import as_sent


def test_a_key_that_is_not_known_is_refused_at_once_and_named_in_the_log(sockets: Sockets) -> None:
    side, unknown = Side(sockets), fresh_keys()
    caller = side.call(keys=unknown)
    caller.send("bound", ACTIVATION)

    with pytest.raises(RunFailed, match="does not know its public key"):
        until(lambda _: False, caller, side.bound)

    assert quiet(side.bound) == []
    assert side.bound.bytes_received == 0
    (line,) = sockets.log
    assert "127.0.0.1" in line
    assert unknown.public in line


def test_a_refusal_that_comes_before_the_call_returns_is_not_missed(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    side, connect = Side(sockets), zmq.Socket.connect

    def slowly(socket: "zmq.Socket[bytes]", address: str) -> None:
        connect(socket, address)
        if address == side.where:
            until(lambda _: bool(sockets.log), side.bound)
            quiet(side.bound)

    monkeypatch.setattr(zmq.Socket, "connect", slowly)
    caller = side.call(keys=fresh_keys())

    with pytest.raises(RunFailed, match="does not know its public key"):
        until(lambda _: False, caller, side.bound)


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
    attempt(raw, as_sent(Message(Kind.JOIN)))

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

    reason = told(sockets, caller, side.bound)

    assert reason.startswith(f"{side.where} breaks off every connection before it stands. Has it another key than is expected")
    assert side.bound.bytes_received == 0
    assert side.where in sockets.log[0]
    assert "does not know this side's public key" in sockets.log[0]


def test_a_side_with_keys_says_nothing_to_one_without(sockets: Sockets) -> None:
    bound, caller = sockets.transport(), sockets.transport(keys=fresh_keys())
    tap = sockets.tap(bound.bind("tcp://127.0.0.1:*"))
    caller.connect("bound", tap.address, "caller", fresh_keys().public)
    caller.send("bound", ACTIVATION)

    reason = told(sockets, caller, bound, tap)

    assert "runs without keys and this process with" in reason or "another key than is expected of it, or none" in reason
    assert MARK not in tap.heard
    assert bound.bytes_received == 0


def test_a_side_without_keys_is_told_that_it_needs_them(sockets: Sockets) -> None:
    side, caller = Side(sockets), sockets.transport()
    caller.connect("bound", side.where, "caller")
    caller.send("bound", ACTIVATION)

    reason = told(sockets, caller, side.bound)

    assert reason.endswith(
        ("runs with keys and this process without. Start both with --keys.", "Does it want keys? Still trying.")
    )
    assert side.bound.bytes_received == 0


def test_who_is_cut_off_again_and_again_gets_through_in_the_end(sockets: Sockets) -> None:
    """As behind a tunnel, which accepts connections although nobody listens yet at its other end."""
    side, later = Side(sockets), sockets.transport(keys=(own := fresh_keys()))
    where = later.bind("tcp://127.0.0.1:*")
    later.close()
    tap = sockets.tap(where)
    caller = sockets.transport(keys=side.known)
    caller.connect("bound", tap.address, "caller", own.public)
    caller.send("bound", ACTIVATION)
    assert "Still trying" in told(sockets, caller, tap)

    again = sockets.transport(keys=own)
    again.bind(where)
    again.admit([side.known.public])

    assert receive(1, again, caller, tap)[0].key == side.known.public


def test_strangers_do_not_disturb_those_who_are_known(sockets: Sockets) -> None:
    side = Side(sockets)
    caller = side.call()
    strangers = [sockets.stranger(side.where, *secured) for secured in ((), (fresh_keys(), side.keys.public)) * 5]
    for raw in strangers:
        attempt(raw, [b"x"] * 100)

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
