"""Inboxes with keys, those who may call them, and what callers are told who may not."""

import time

import numpy as np

from decoupled.errors import RunFailed
from decoupled.transport.interface import Limits
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.messages import Kind, Message
from tests.transport.sockets import Polled, Sockets, fresh_keys, until

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


def quiet(*transports: ZeroMQ, seconds: float = 0.3) -> list[object]:
    """What the first hears in so many seconds, in which nothing should come."""
    heard: list[object] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        heard += [arrival for transport in transports for arrival in transport.poll(0.01)]
    return heard


def told(sockets: Sockets, caller: ZeroMQ, *others: Polled) -> str:
    """What someone who cannot connect is told: by an error, or by the log when libzmq goes on trying."""
    try:
        until(lambda _: any("breaks off" in line for line in sockets.log), caller, *others)
    except RunFailed as error:
        return str(error)
    return next(line for line in sockets.log if "breaks off" in line)
