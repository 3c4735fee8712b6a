"""Transports and strangers' sockets that close when a test ends, and waiting for them with a deadline."""

import contextlib
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import zmq

from decoupled.transport.interface import Arrival, Disconnected, Limits, Received
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.codec import Frame
from tests.tap import Tap

DEADLINE_S = 20.0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


ADDRESSES = ["ipc", "tcp://127.0.0.1:*", *(["tcp://[::1]:*"] if has_ipv6() else [])]


class Sockets:
    """Transports that are closed when the test ends."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self.file = stack, f"ipc://{folder / 'inbox'}"
        self.log: list[str] = []  # of all transports

    def transport(self, limits: Limits | None = None, keys: Keys | None = None, own: tuple[str, ...] = ()) -> ZeroMQ:
        transport = ZeroMQ(limits, keys, self.log.append, own)
        self._stack.callback(transport.close)
        return transport

    def pair(self, address: str = "ipc", limits: Limits | None = None) -> tuple[ZeroMQ, ZeroMQ, str]:
        """A bound transport, one that is linked to it as "caller", and its address."""
        bound, caller = self.transport(limits), self.transport(limits)
        where = bound.bind(self.file if address == "ipc" else address)
        caller.connect("bound", where, "caller")
        return bound, caller, where

    def stranger(self, where: str, keys: Keys | None = None, server: str = "") -> "zmq.Socket[bytes]":
        """A socket without our codec, connected to `where`, with keys to the one who has the public key `server`."""
        context = self._stack.enter_context(zmq.Context())
        raw: zmq.Socket[bytes] = self._stack.enter_context(context.socket(zmq.DEALER))
        raw.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            raw.curve_publickey, raw.curve_secretkey = keys.public.encode(), keys.secret.encode()
            raw.curve_serverkey = server.encode()
        raw.connect(where)
        return raw

    def tap(self, where: str) -> Tap:
        """A tap on what goes to and comes from the tcp:// address `where`."""
        tap = Tap(where)
        self._stack.callback(tap.close)
        return tap


def attempt(raw: "zmq.Socket[bytes]", frames: list[Frame]) -> None:
    """Sends; not if the other side has turned this one away before, for then a send would wait for ever."""
    with contextlib.suppress(zmq.Again):
        raw.send_multipart(frames, zmq.DONTWAIT)


def fresh_keys(*known: str) -> Keys:
    """A new pair of keys, of someone who knows these public ones."""
    public, secret = zmq.curve_keypair()
    return Keys(public.decode(), secret.decode(), known)


def mechanisms(transport: ZeroMQ) -> set[int]:
    """How the inbox and the links of a transport secure themselves: zmq.NULL, zmq.CURVE."""
    sockets = [transport._inbox, *transport._links.values()]
    return {int(socket.getsockopt(zmq.MECHANISM)) for socket in sockets if socket is not None}


class Polled(Protocol):
    """What does its work while it is polled."""

    def poll(self, timeout_s: float, /) -> list[Any]: ...


def until(enough: Callable[[list[Arrival]], bool], *transports: Polled) -> list[Arrival]:
    """What the first transport receives until it is enough, while all of them work."""
    heard: list[Arrival] = []
    deadline = time.monotonic() + DEADLINE_S
    while not enough(heard):
        assert time.monotonic() < deadline, f"heard only {len(heard)}: {heard[-3:]}"
        for other in transports[1:]:
            other.poll(0)
        heard += transports[0].poll(0.01)
    return heard


def receive(count: int, *transports: Polled) -> list[Received]:
    """The first `count` messages that the first transport receives."""
    heard = until(lambda heard: len(heard) >= count, *transports)
    return [arrival for arrival in heard if isinstance(arrival, Received)]


def until_lost(peer: str, *transports: Polled) -> list[Arrival]:
    """What the first transport receives until it is told that it has lost `peer`."""
    return until(lambda heard: Disconnected(peer) in heard, *transports)
