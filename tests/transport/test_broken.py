"""Links over sockets that break while both sides live: each is told once, after the last message, and then hears nothing."""

import gc
import threading

import numpy as np
import psutil
import zmq

from decoupled.transport.interface import Arrival, Disconnected, Limits, Received
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.messages import Kind, Message
from tests.conftest import until as wait_until
from tests.tap import Tap
from tests.transport.sockets import Sockets, receive, until, until_lost


def tapped(sockets: Sockets) -> tuple[ZeroMQ, ZeroMQ, Tap]:
    """An inbox, and a transport that is linked to it by way of a tap; each has heard from the other."""
    bound, caller = sockets.transport(), sockets.transport()
    tap = sockets.tap(bound.bind("tcp://127.0.0.1:*"))
    caller.connect("bound-1", tap.address, "caller-1")
    caller.send("bound-1", Message(Kind.HELLO))
    receive(1, bound, caller, tap)
    bound.send("caller-1", Message(Kind.WINDOW))
    receive(1, caller, bound, tap)
    return bound, caller, tap


def test_both_sides_of_a_link_that_broke_are_told_once_and_hear_nothing_more_by_it(sockets: Sockets) -> None:
    """Though libzmq connects again under the same name, with all that waited to be sent."""
    bound, caller, tap = tapped(sockets)
    heard: list[Arrival] = []

    tap.cut()
    for number in range(20):
        caller.send("bound-1", Message(Kind.ACTIVATION, microbatch=number))
    heard += until_lost("caller-1", bound, tap)
    caller_heard = until_lost("bound-1", caller, bound, tap)
    for number in range(20, 40):
        caller.send("bound-1", Message(Kind.ACTIVATION, microbatch=number))
        bound.send("caller-1", Message(Kind.GRADIENT, microbatch=number))
    caller.connect("bound-2", tap.address, "caller-2")
    caller.send("bound-2", Message(Kind.HELLO, microbatch=77))
    new = until(lambda heard: any(arrival.peer == "caller-2" for arrival in heard), bound, caller, tap)
    bound.send("caller-2", Message(Kind.WINDOW, microbatch=78))
    answers = receive(1, caller, bound, tap)

    assert heard.count(Disconnected("caller-1")) == caller_heard.count(Disconnected("bound-1")) == 1
    assert [arrival.peer for arrival in new] == ["caller-2"]
    assert [(arrival.peer, arrival.message.microbatch) for arrival in answers] == [("bound-2", 78)]


def test_who_hears_late_that_a_link_broke_gets_what_came_before_first(sockets: Sockets) -> None:
    """As a stage does that was busy computing: libzmq has long connected again by then."""
    bound, caller, tap = tapped(sockets)
    for number in range(5):
        bound.send("caller-1", Message(Kind.GRADIENT, microbatch=number))
    wait_until("the gradients to pass", lambda: not tap.poll(0.01) and len(tap.heard) > 5 * 64)
    tap.cut()
    connections = len(tap.heard)
    wait_until("the link to be made anew", lambda: not tap.poll(0.01) and len(tap.heard) > connections + 64)

    heard = until_lost("bound-1", caller, tap)

    numbers = [arrival.message.microbatch for arrival in heard if isinstance(arrival, Received)]
    assert numbers == list(range(len(numbers)))
    assert heard[-1] == Disconnected("bound-1")
    assert not any(caller.poll(0.01) for _ in range(10))


def test_links_that_break_and_are_made_anew_leave_nothing_behind(sockets: Sockets) -> None:
    """Neither sockets nor files nor threads, nor what waited to be sent by a full queue."""
    bound, caller = sockets.transport(Limits(high_water_mark=1)), sockets.transport(Limits(high_water_mark=1))
    tap = sockets.tap(bound.bind("tcp://127.0.0.1:*"))
    large = Message(Kind.ACTIVATION, tensors=(np.zeros(1 << 15),))

    def one(number: int) -> None:
        caller.connect(f"bound-{number}", tap.address, f"caller-{number}")
        caller.send(f"bound-{number}", Message(Kind.HELLO))
        until(lambda heard: any(arrival.peer == f"caller-{number}" for arrival in heard), bound, caller, tap)
        for _ in range(10):
            caller.send(f"bound-{number}", large)
            bound.send(f"caller-{number}", large)
        tap.cut()
        until_lost(f"bound-{number}", caller, bound, tap)

    def left() -> tuple[int, int, int]:
        sockets_open = [found for found in gc.get_objects() if issubclass(type(found), zmq.Socket) and not found.closed]
        waiting = sum(len(transport._outbox) + len(transport._callers) for transport in (bound, caller))
        return len(sockets_open), threading.active_count(), waiting

    one(0)
    until(lambda _: not bound._callers, bound, tap)
    before, files = left(), psutil.Process().num_fds()
    for number in range(1, 30):
        one(number)

    until(lambda _: not bound._callers, bound, tap)
    assert left() == before
    wait_until("the files of old links to be closed", lambda: psutil.Process().num_fds() <= files)
