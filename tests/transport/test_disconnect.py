"""Links over sockets that are ended on purpose: nothing of them comes any more, and nothing of them is left."""

import threading
from dataclasses import replace

import numpy as np
import psutil
import pytest

from decoupled.transport.interface import Disconnected, Limits, Received
from decoupled.wire.messages import Kind, Message
from tests.conftest import until as wait_until
from tests.transport.sockets import ADDRESSES, Sockets, receive, until, until_lost

HELLO = Message(Kind.HELLO)


def numbers(heard: list[Received]) -> list[tuple[str, int]]:
    return [(arrival.peer, arrival.message.microbatch) for arrival in heard]


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_other_side_hears_that_its_caller_has_gone_and_this_side_nothing(sockets: Sockets, address: str) -> None:
    bound, caller, _ = sockets.pair(address)
    caller.send("bound", HELLO)
    receive(1, bound)

    caller.disconnect("bound")
    heard = until_lost("caller", bound, caller)

    assert heard == [Disconnected("caller")]
    assert caller.poll(0) == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_new_link_to_the_same_peer_carries_only_what_was_sent_by_it(sockets: Sockets, address: str) -> None:
    """Megabytes wait in a full queue when the old link ends; none of them comes by the new one."""
    bound, caller, where = sockets.pair(address, Limits(high_water_mark=1))
    caller.send("bound", HELLO)
    receive(1, bound)
    for number in range(30):
        caller.send("bound", Message(Kind.ACTIVATION, microbatch=number, tensors=(np.zeros(1 << 17),)))

    caller.disconnect("bound")
    caller.connect("bound", where, "caller-2")
    caller.send("bound", Message(Kind.MARKER, microbatch=77))
    heard = until(lambda heard: any(arrival.peer == "caller-2" for arrival in heard), bound, caller)

    messages = [arrival for arrival in heard if isinstance(arrival, Received)]
    assert [pair for pair in numbers(messages) if pair[0] == "caller-2"] == [("caller-2", 77)]
    by_the_old = [number for peer, number in numbers(messages) if peer == "caller"]
    assert by_the_old == list(range(len(by_the_old)))
    assert len(by_the_old) < 30, "what had not been sent is dropped"


@pytest.mark.parametrize("address", ADDRESSES)
def test_by_a_new_link_the_same_peer_answers(sockets: Sockets, address: str) -> None:
    bound, caller, where = sockets.pair(address)
    caller.send("bound", HELLO)
    receive(1, bound)
    caller.disconnect("bound")

    caller.connect("bound", where, "caller-2")
    caller.send("bound", HELLO)
    until(lambda heard: any(arrival.peer == "caller-2" for arrival in heard), bound, caller)
    bound.send("caller-2", Message(Kind.WINDOW, microbatch=5))

    assert numbers(receive(1, caller, bound)) == [("bound", 5)]


def test_what_the_peer_had_sent_by_the_old_link_does_not_come_by_the_new_one(sockets: Sockets) -> None:
    bound, caller, where = sockets.pair()
    caller.send("bound", HELLO)
    receive(1, bound)
    for number in range(10):
        bound.send("caller", Message(Kind.GRADIENT, microbatch=number))
    assert receive(1, caller)[0].message.microbatch == 0

    caller.disconnect("bound")
    caller.connect("bound", where, "caller-2")
    caller.send("bound", HELLO)
    until(lambda heard: any(arrival.peer == "caller-2" for arrival in heard), bound, caller)
    bound.send("caller", Message(Kind.GRADIENT, microbatch=10))
    bound.send("caller-2", Message(Kind.WINDOW, microbatch=11))

    assert [number for _, number in numbers(receive(1, caller, bound))] == [11]


def test_a_link_to_another_worker_in_the_place_of_one_that_has_gone(sockets: Sockets) -> None:
    """The peer keeps its name here, though another answers to it."""
    old, successor, caller = (sockets.transport() for _ in range(3))
    caller.bind("tcp://127.0.0.1:*")
    caller.connect("below", old.bind("tcp://127.0.0.1:*"), "above-1")
    caller.send("below", HELLO)
    receive(1, old)
    old.close()
    until_lost("below", caller)

    caller.disconnect("below")
    caller.connect("below", successor.bind("tcp://127.0.0.1:*"), "above-2")
    caller.send("below", Message(Kind.HELLO, microbatch=3))

    assert numbers(receive(1, successor, caller)) == [("above-2", 3)]


def test_a_message_to_a_peer_that_was_disconnected_is_dropped(sockets: Sockets) -> None:
    bound, caller, where = sockets.pair()
    caller.bind("tcp://127.0.0.1:*")
    caller.disconnect("bound")

    for number in range(3):
        caller.send("bound", Message(Kind.REPORT, microbatch=number))
    caller.connect("bound", where, "caller-2")
    caller.send("bound", Message(Kind.REPORT, microbatch=3))

    assert numbers(receive(1, bound, caller)) == [("caller-2", 3)]


def test_there_may_be_no_link_to_end(sockets: Sockets) -> None:
    bound, caller, _ = sockets.pair()

    caller.disconnect("nobody")
    bound.disconnect("caller")  # which connected itself
    for _ in range(2):
        caller.disconnect("bound")

    assert caller.poll(0) == []


def test_the_other_links_go_on(sockets: Sockets) -> None:
    _, caller, _ = sockets.pair()
    other = sockets.transport()
    caller.connect("other", other.bind("tcp://127.0.0.1:*"), "caller")

    caller.disconnect("bound")
    caller.send("other", HELLO)
    (hello,) = receive(1, other, caller)
    other.send(hello.peer, Message(Kind.WINDOW, microbatch=4))

    assert numbers(receive(1, caller, other)) == [("other", 4)]


def test_fifty_links_one_after_another_leave_no_files_threads_or_events_behind(sockets: Sockets) -> None:
    bound, caller, where = sockets.pair()
    caller.send("bound", HELLO)
    receive(1, bound)
    me = psutil.Process()
    files, threads = me.num_fds(), threading.active_count()

    for number in range(50):
        caller.disconnect("bound")
        caller.connect("bound", where, f"caller-{number}")
        caller.send("bound", Message(Kind.HELLO, microbatch=number))
        assert caller.poll(0) == []
        until(lambda heard, name=f"caller-{number}": any(arrival.peer == name for arrival in heard), bound, caller)  # type: ignore[misc]

    wait_until("the files of old links to be closed", lambda: me.num_fds() <= files)
    assert threading.active_count() == threads
    assert caller.poll(0) == []


def test_a_link_may_be_ended_before_there_was_anyone_at_its_other_end(sockets: Sockets) -> None:
    caller = sockets.transport()
    caller.connect("bound", sockets.file, "caller")
    caller.send("bound", HELLO)

    caller.disconnect("bound")
    bound = sockets.transport()
    caller.connect("bound", bound.bind(sockets.file), "caller-2")
    caller.send("bound", Message(Kind.HELLO, microbatch=2))

    until_heard = numbers(receive(1, bound, caller))
    if ("caller-2", 2) not in until_heard:  # the first may have slipped out while it was being closed
        until_heard += numbers(receive(1, bound, caller))
    assert until_heard[-1] == ("caller-2", 2)


@pytest.mark.parametrize("address", ["ipc", "tcp://127.0.0.1:*"])
def test_an_inbox_that_is_opened_anew_has_the_limits_of_now(sockets: Sockets, address: str) -> None:
    """The callers of the one before are cut off."""
    bound, caller, _ = sockets.pair(address, Limits(message_bytes_max=10_000))
    caller.send("bound", HELLO)
    receive(1, bound)

    bound.limits = caller.limits = Limits(message_bytes_max=1_000_000)
    where = bound.bind(f"{sockets.file}-2" if address == "ipc" else address)
    until_lost("bound", caller, bound)
    caller.connect("bound-2", where, "caller-2")
    caller.send("bound-2", Message(Kind.ACTIVATION, tensors=(np.zeros(100_000),)))
    (large,) = receive(1, bound, caller)
    bound.send("caller-2", replace(large.message, kind=Kind.GRADIENT))

    assert large.message.tensors[0].nbytes == 800_000
    assert [arrival.peer for arrival in receive(1, caller, bound)] == ["bound-2"]
