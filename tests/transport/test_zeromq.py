"""Real sockets, over files and over loopback: order, names, full queues and lost peers."""

import time

import numpy as np
import pytest

from decoupled.errors import RunFailed, UsageError
from decoupled.transport.interface import Disconnected, Limits, Received
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.messages import Kind, Message
from tests.transport.sockets import ADDRESSES, DEADLINE_S, Sockets, receive, until, until_lost


@pytest.mark.parametrize("address", ADDRESSES)
def test_messages_arrive_whole_and_in_order(sockets: Sockets, address: str) -> None:
    bound, caller, _ = sockets.pair(address)

    for number in range(200):
        caller.send("bound", Message(Kind.ACTIVATION, microbatch=number, tensors=(np.full((2, 3), number),)))
    heard = receive(200, bound, caller)

    assert [arrival.message.microbatch for arrival in heard] == list(range(200))
    assert all((arrival.message.tensors[0] == number).all() for number, arrival in enumerate(heard))
    assert not any(arrival.message.tensors[0].flags.writeable for arrival in heard)
    assert bound.bytes_received >= caller.bytes_sent > 200 * 48


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1000, 1000)])
def test_arrays_of_any_shape_arrive(sockets: Sockets, shape: tuple[int, ...]) -> None:
    bound, caller, _ = sockets.pair()

    caller.send("bound", Message(Kind.ACTIVATION, tensors=(np.ones(shape, np.float32),)))
    (arrival,) = receive(1, bound)

    assert arrival.message.tensors[0].shape == shape
    assert (arrival.message.tensors[0] == 1).all()


@pytest.mark.parametrize("address", ADDRESSES)
def test_callers_are_told_apart_and_answered_by_name(sockets: Sockets, address: str) -> None:
    bound, caller, where = sockets.pair(address)
    other = sockets.transport()
    other.connect("bound", where, "other")

    caller.send("bound", Message(Kind.JOIN, stage=1))
    other.send("bound", Message(Kind.JOIN, stage=2))
    joined = receive(2, bound)
    for arrival in joined:
        bound.send(arrival.peer, Message(Kind.ASSIGN, stage=arrival.message.stage))

    assert {(arrival.peer, arrival.message.stage) for arrival in joined} == {("caller", 1), ("other", 2)}
    assert [(arrival.peer, arrival.message.stage) for arrival in receive(1, caller)] == [("bound", 1)]
    assert [(arrival.peer, arrival.message.stage) for arrival in receive(1, other)] == [("bound", 2)]


def test_a_peer_may_open_its_inbox_after_others_have_connected_and_sent(sockets: Sockets) -> None:
    caller, bound = sockets.transport(), sockets.transport()

    caller.connect("bound", sockets.file, "caller")
    caller.send("bound", Message(Kind.HELLO, microbatch=7))
    bound.bind(sockets.file)

    assert [arrival.message.microbatch for arrival in receive(1, bound, caller)] == [7]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_queue_of_one_and_a_slow_reader_lose_nothing_and_block_nobody(sockets: Sockets, address: str) -> None:
    """Megabytes that nobody reads yet, both ways: sends return at once all the same, and later all is there."""
    bound, caller, _ = sockets.pair(address, Limits(high_water_mark=1))
    caller.send("bound", Message(Kind.HELLO))
    receive(1, bound)
    large = np.zeros(1 << 17)

    before = time.monotonic()
    for number in range(20):
        caller.send("bound", Message(Kind.ACTIVATION, microbatch=number, tensors=(large,)))
        bound.send("caller", Message(Kind.GRADIENT, microbatch=number, tensors=(large,)))
    took_s = time.monotonic() - before
    heard: dict[ZeroMQ, list[int]] = {bound: [], caller: []}
    deadline = time.monotonic() + DEADLINE_S
    while any(len(numbers) < 20 for numbers in heard.values()) and time.monotonic() < deadline:
        for transport, numbers in heard.items():
            numbers += [arrival.message.microbatch for arrival in transport.poll(0.001) if isinstance(arrival, Received)]

    assert took_s < 5
    assert heard[bound] == list(range(20))
    assert heard[caller] == list(range(20))


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_caller_that_closes_is_reported_after_its_last_words(sockets: Sockets, address: str) -> None:
    bound, caller, _ = sockets.pair(address, Limits(high_water_mark=1000))
    for number in range(300):
        caller.send("bound", Message(Kind.REPORT, microbatch=number))

    caller.close()
    heard = until_lost("caller", bound)

    assert [arrival.message.microbatch for arrival in heard[:-1] if isinstance(arrival, Received)] == list(range(300))
    assert heard[-1] == Disconnected("caller")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_caller_that_closes_is_reported(sockets: Sockets, address: str) -> None:
    """A hundred in a row: libzmq tells of the loss a moment before it forgets the way to the caller."""
    bound = sockets.transport()
    where = bound.bind(sockets.file if address == "ipc" else address)

    for number in range(100):
        caller = sockets.transport()
        caller.connect("bound", where, f"caller-{number}")
        caller.send("bound", Message(Kind.HELLO))
        receive(1, bound)
        caller.close()

        assert until_lost(f"caller-{number}", bound) == [Disconnected(f"caller-{number}")]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_bound_peer_that_closes_is_reported(sockets: Sockets, address: str) -> None:
    bound, caller, _ = sockets.pair(address)
    caller.send("bound", Message(Kind.HELLO))
    receive(1, bound)

    bound.close()

    assert until(lambda heard: bool(heard), caller) == [Disconnected("bound")]


def test_one_callers_end_is_not_anothers(sockets: Sockets) -> None:
    bound, caller, where = sockets.pair()
    other = sockets.transport()
    other.connect("bound", where, "other")
    caller.send("bound", Message(Kind.HELLO))
    other.send("bound", Message(Kind.HELLO))
    receive(2, bound)

    caller.close()
    heard = until(lambda heard: bool(heard), bound)
    bound.send("other", Message(Kind.STOP))

    assert heard == [Disconnected("caller")]
    (arrival,) = receive(1, other, bound)
    assert arrival.message.kind is Kind.STOP  # the transports' own pings are not heard


def test_a_message_to_a_caller_that_has_gone_is_dropped(sockets: Sockets) -> None:
    bound, caller, _ = sockets.pair()
    caller.send("bound", Message(Kind.HELLO))
    receive(1, bound)
    caller.close()
    until_lost("caller", bound)

    bound.send("caller", Message(Kind.STOP))

    assert bound.poll(0) == []


def test_an_address_in_use_is_one_sentence(sockets: Sockets) -> None:
    where = sockets.transport().bind("tcp://127.0.0.1:*")

    with pytest.raises(RunFailed, match=f"{where} is in use"):
        sockets.transport().bind(where)


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:5555", "tcp://127.0.0.1", "nonsense", "", "ipc:///no/such/folder/inbox"])
def test_an_address_that_cannot_be_listened_on_is_a_usage_error(sockets: Sockets, address: str) -> None:
    with pytest.raises(UsageError) as refusal:
        sockets.transport().bind(address)

    assert str(refusal.value).startswith(f"Cannot listen on {address}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "nonsense", "", "smoke://127.0.0.1:5"])
def test_an_address_that_cannot_be_connected_to_is_a_usage_error(sockets: Sockets, address: str) -> None:
    with pytest.raises(UsageError, match=r"^Cannot connect to .*tcp://HOST:PORT"):
        sockets.transport().connect("peer", address, "me")
