"""Authentication: who may connect to an inbox that has keys, and a line in the log about those who may not.

libzmq asks here about each caller (by its authentication protocol, ZAP, RFC 27) once the caller has proven that it has
the secret key to its public one, and that it knows this side's public key. Until it is known whom to admit there
is no answer, so that an upstream which was assigned sooner waits instead of being turned away.
"""

import contextlib
from collections.abc import Callable, Iterable

import zmq
from zmq.utils import z85

ADDRESS = "inproc://zeromq.zap.01"  # where libzmq asks; an inbox that is bound before it lets everyone in
DOMAIN = "decoupled"
BURST = 64  # callers that are answered before messages get their turn


class ZapAuthenticator:
    """Answers libzmq's questions; `socket` can be read when there is one."""

    def __init__(self, context: zmq.Context["zmq.Socket[bytes]"], log: Callable[[str], None]) -> None:
        self._log, self._admitted = log, set[str]()
        self.socket = context.socket(zmq.REP)
        self.socket.bind(ADDRESS)

    def admit(self, keys: Iterable[str]) -> None:
        """Lets in, from now on, those who have one of these public keys."""
        self._admitted.update(keys)

    def answer(self) -> None:
        """Lets in, or turns away, those who wait."""
        with contextlib.suppress(zmq.Again):
            for _ in range(BURST):
                self._answer(*self.socket.recv_multipart(zmq.DONTWAIT))

    def _answer(
        self, version: bytes, request: bytes, domain: bytes, address: bytes, name: bytes, mechanism: bytes, key: bytes
    ) -> None:
        public = z85.encode(key)
        verdict = [b"200", b"known", public] if public.decode() in self._admitted else [b"400", b"unknown", b""]
        self.socket.send_multipart([version, request, *verdict, b""])
        if not verdict[2]:
            host = address.decode(errors="replace") or "a process on this host"
            self._log(f"refused {host}: its public key {public.decode()} is not known here.")
