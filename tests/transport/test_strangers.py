"""What strangers send over real sockets is refused and counted, and disturbs nobody."""

import numpy as np
import pytest
import zmq

from decoupled.errors import RunFailed
from decoupled.transport.interface import Disconnected, Limits
from decoupled.wire.messages import Kind, Message
from tests.transport.sockets import Sockets, receive, until, until_lost
from tests.wire.frames import as_sent, header

HOSTILE: list[list[bytes]] = [
    [b""],
    [b"\x80\x04\x95."],
    [b"\xc1" * 100],
    [b"\x91" * 5000],
    [b"GET / HTTP/1.1\r\n\r\n"],
    [header(version=9)],
    [header(type="exec")],
    [header(tensors=[["float32", [2**30, 2**30]]]), b"\0\0\0\0"],
    [header(tensors=[["float32", [0] + [2**30] * 7]]), b""],
    [header(), b"one frame too many"],
    [b"x"] * 2000,
]


def test_what_strangers_send_is_refused_and_counted_while_good_traffic_goes_on(sockets: Sockets) -> None:
    bound, caller, where = sockets.pair()
    stranger = sockets.stranger(where)

    for number, frames in enumerate(HOSTILE):
        stranger.send_multipart(frames)
        caller.send("bound", Message(Kind.ACTIVATION, microbatch=number))
    heard = receive(len(HOSTILE), bound)
    until(lambda _: bound.refused >= len(HOSTILE), bound)

    assert [(arrival.peer, arrival.message.microbatch) for arrival in heard] == [("caller", n) for n in range(len(HOSTILE))]
    assert bound.refused == len(HOSTILE)


def test_a_stranger_whose_name_is_no_text_is_refused(sockets: Sockets) -> None:
    bound = sockets.transport()
    where = bound.bind(sockets.file)
    stranger = sockets.stranger(where)
    stranger.disconnect(where)
    stranger.setsockopt(zmq.ROUTING_ID, b"\xff\xfe")
    stranger.connect(where)

    stranger.send_multipart(as_sent(Message(Kind.JOIN)))
    heard = until(lambda _: bound.refused == 1, bound)

    assert heard == []


def test_a_frame_above_the_limit_never_reaches_the_receiver(sockets: Sockets) -> None:
    """Its sender is cut off before the receiver makes room for it."""
    bound, caller, _ = sockets.pair(limits=Limits(message_bytes_max=100_000))
    caller.send("bound", Message(Kind.HELLO))
    receive(1, bound)
    received = bound.bytes_received
    caller.limits = Limits()

    caller.send("bound", Message(Kind.ACTIVATION, tensors=(np.zeros(100_001, np.uint8),)))
    heard = until_lost("bound", caller, bound)

    assert heard == [Disconnected("bound")]
    assert bound.bytes_received == received


def test_frames_that_are_too_much_together_are_refused(sockets: Sockets) -> None:
    bound, caller, _ = sockets.pair(limits=Limits(message_bytes_max=100_000))
    caller.limits = Limits()

    caller.send("bound", Message(Kind.ACTIVATION, tensors=(np.zeros(60_000, np.uint8), np.zeros(60_000, np.uint8))))
    caller.send("bound", Message(Kind.HELLO))
    (arrival,) = receive(1, bound)

    assert arrival.message.kind is Kind.HELLO
    assert bound.refused == 1


def test_what_the_other_side_would_refuse_is_refused_before_it_is_sent(sockets: Sockets) -> None:
    _, caller, _ = sockets.pair(limits=Limits(message_bytes_max=100_000))

    with pytest.raises(RunFailed, match=r"over link\.message_bytes_max, 100,000\. Raise it"):
        caller.send("bound", Message(Kind.ACTIVATION, tensors=(np.zeros(100_001, np.uint8),)))


def test_a_stranger_cannot_take_the_name_of_a_peer(sockets: Sockets) -> None:
    """A worker connects to its coordinator; whoever calls its inbox by that name is refused and counted."""
    worker, coordinator = sockets.transport(), sockets.transport()
    inbox, hub = worker.bind("tcp://127.0.0.1:*"), coordinator.bind("tcp://127.0.0.1:*")
    worker.connect("coordinator", hub, "worker")
    stranger = sockets.transport()
    stranger.connect("victim", inbox, "coordinator")

    stranger.send("victim", Message(Kind.STOP))
    worker.send("coordinator", Message(Kind.HELLO))
    receive(1, coordinator, worker)
    coordinator.send("worker", Message(Kind.WINDOW))
    (arrival,) = receive(1, worker, stranger)

    assert arrival.message.kind is Kind.WINDOW
    until(lambda heard: worker.refused == 1, worker, stranger)


def test_a_stranger_cannot_take_the_name_of_a_peer_that_is_still_to_be_linked_to(sockets: Sockets) -> None:
    """Or its leaving would be taken for that peer's; nor is anything sent to one that does."""
    bound = sockets.transport(own=("downstream", "feed-"))
    where = bound.bind(sockets.file)
    for number, name in enumerate(("downstream", "downstream-7-0-1", "feed-3"), start=1):
        stranger, caller = sockets.transport(), sockets.transport()
        stranger.connect("victim", where, name)
        caller.connect("bound", where, f"caller-of-feed-{number}")

        stranger.send("victim", Message(Kind.HELLO))
        until(lambda _, number=number: bound.refused == number, bound, stranger)  # type: ignore[misc]
        bound.send(name, Message(Kind.ACTIVATION))
        assert not any(stranger.poll(0.01) for _ in range(10))
        stranger.close()
        caller.send("bound", Message(Kind.HELLO))

        assert [arrival.peer for arrival in receive(1, bound, caller)] == [f"caller-of-feed-{number}"]
