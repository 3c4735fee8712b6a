"""ZeroMQ links: one ROUTER inbox per process, and one DEALER for each peer it connects to.

A connecting side chooses the name it is known by (its routing id), so a name is all that is needed to answer. Lost
connections are told by libzmq's monitors; heartbeats run in its own thread. With keys every connection is
encrypted and both its ends are authenticated (CURVE), and none comes about without.
"""

import contextlib
import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from decoupled.errors import RunFailed, UsageError
from decoupled.transport.interface import Arrival, Disconnected, Limits, Received
from decoupled.transport.keys import Keys
from decoupled.transport.monitor import InboxMonitor, LinkMonitor
from decoupled.transport.rate_limited_log import RateLimitedLog
from decoupled.transport.zap import DOMAIN, ZapAuthenticator
from decoupled.wire.codec import Frame, WireError, decode, encode
from decoupled.wire.messages import Kind, Message

RETRY_S = 0.001  # between tries to send what a full queue refused
LINGER_MS = 1000  # that closing may take to hand over the last messages
CLOSE_S = 2.0  # that it may take at all
BURST = 64  # messages taken from one socket before the others get their turn
ENDED_MAX = 4096  # names of callers that have gone which are remembered; more than a run has within seconds
SEARCH_S = 1.0  # for the caller whose connection broke
SEARCH_EVERY_S = 0.02


class ZeroMQ:
    """A Transport over ZeroMQ sockets (tcp:// or ipc:// addresses). `log` hears of connections that could not be made."""

    def __init__(
        self,
        limits: Limits | None = None,
        keys: Keys | None = None,
        log: Callable[[str], None] = lambda line: None,
        own: tuple[str, ...] = (),
    ) -> None:
        """`own` are what the names of peers begin with that this side connects to; no caller may take such a name."""
        self.limits, self._own = limits or Limits(), own
        self._keys, self._log = keys, RateLimitedLog(log)
        self._context = zmq.Context()
        self._zap = ZapAuthenticator(self._context, self._log.add) if keys is not None else None
        self._inbox: zmq.Socket[bytes] | None = None
        self._links: dict[str, zmq.Socket[bytes]] = {}
        self._monitors: dict[zmq.Socket[bytes], InboxMonitor | LinkMonitor] = {}  # by the socket that has their events
        self._callers: set[str] = set()  # peers that have written to the inbox
        self._ended: dict[str, None] = {}  # the last callers that have gone; libzmq may connect them again under their names
        self._unexplained = 0  # connections to the inbox that broke, by a caller not found yet
        self._search_at = self._search_until = 0.0
        self._outbox: dict[str, deque[list[Frame]]] = {}
        self._poller = zmq.Poller()
        self.refused = 0  # messages that the codec refused
        self.bytes_sent = 0
        self.bytes_received = 0

    def bind(self, address: str) -> str:
        inbox = self._socket(zmq.ROUTER, address)
        inbox.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self._keys is not None:
            inbox.setsockopt(zmq.CURVE_SERVER, 1)
            inbox.setsockopt_string(zmq.CURVE_SECRETKEY, self._keys.secret)
            inbox.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        monitor = InboxMonitor(inbox, self._log.add if self._keys is not None else None)
        try:
            inbox.bind(address)
        except zmq.ZMQError as error:
            monitor.close()
            raise _bind_error(address, error) from None
        if self._inbox is not None:
            self._close(self._inbox)
            self._callers.clear()
        self._inbox = inbox
        self._follow(monitor)
        return inbox.getsockopt_string(zmq.LAST_ENDPOINT)

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        link = self._socket(zmq.DEALER, address)
        link.setsockopt_string(zmq.ROUTING_ID, name)
        if self._keys is not None:
            assert key, f"{peer} has no key, and this side has"
            link.setsockopt_string(zmq.CURVE_PUBLICKEY, self._keys.public)
            link.setsockopt_string(zmq.CURVE_SECRETKEY, self._keys.secret)
            link.setsockopt_string(zmq.CURVE_SERVERKEY, key)
        monitor = LinkMonitor(link, peer, address, self._keys is not None, self._log.add)
        try:
            link.connect(address)
        except zmq.ZMQError as error:
            monitor.close()
            raise UsageError(f"Cannot connect to {address}: {error.strerror}. Give an address like tcp://HOST:PORT.") from None
        self.disconnect(peer)
        self._links[peer] = link
        self._follow(monitor)

    def admit(self, keys: Iterable[str]) -> None:
        if self._zap is not None:
            self._zap.admit(keys)
            self._poller.register(self._zap.socket, zmq.POLLIN)

    def disconnect(self, peer: str) -> None:
        if (link := self._links.pop(peer, None)) is not None:
            self._outbox.pop(peer, None)
            self._close(link)

    def _close(self, socket: "zmq.Socket[bytes]") -> None:
        """Closes an inbox or a link, with its monitor."""
        monitor = next(monitor for monitor in self._monitors.values() if monitor.socket is socket)
        del self._monitors[monitor.events]
        self._poller.unregister(monitor.socket)
        self._poller.unregister(monitor.events)
        monitor.close()

    def _end(self, peer: str) -> None:
        """Ends a link that broke. libzmq would make the connection anew, and what came by it would seem to be the old one's."""
        self.disconnect(peer)
        self._outbox.pop(peer, None)
        if peer in self._callers:
            self._callers.remove(peer)
            self._ended[peer] = None
            if len(self._ended) > ENDED_MAX:
                del self._ended[next(iter(self._ended))]

    def send(self, peer: str, message: Message) -> None:
        frames = encode(message)
        size = sum(memoryview(frame).nbytes for frame in frames)
        if size > self.limits.message_bytes_max:  # the other side would refuse it, and both would wait
            raise RunFailed(
                f"A message of {size:,} bytes is over link.message_bytes_max, {self.limits.message_bytes_max:,}. Raise it."
            )
        self.bytes_sent += size
        if self._outbox.get(peer) or not self._try(peer, frames):
            self._outbox.setdefault(peer, deque()).append(frames)

    def poll(self, timeout_s: float) -> list[Arrival]:
        if not self._flush():
            timeout_s = min(timeout_s, RETRY_S)
        if self._unexplained:
            timeout_s = min(timeout_s, SEARCH_EVERY_S)
        self._log.tell()
        arrivals: list[Arrival] = []
        lost: list[str] = []
        for socket, _ in self._poller.poll(round(timeout_s * 1000)):
            if socket in self._monitors:
                lost += self._lost(self._monitors[socket])
            elif self._zap is not None and socket is self._zap.socket:
                self._zap.answer()
            else:
                arrivals += self._drain(socket)
        if lost := lost + self._gone():
            arrivals += self._rest()  # what was said before a link broke comes before the report that it did
            for peer in lost:
                self._end(peer)
        return [*arrivals, *map(Disconnected, lost)]

    def close(self) -> None:
        # Closes every socket, also one that an interruption left half made. libzmq may be looking up a host's name just then,
        # for up to a minute in which nothing can stop it; the end of the process does.
        closing = threading.Thread(target=self._destroy, name="closing", daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def _destroy(self) -> None:
        with contextlib.suppress(zmq.ZMQError):
            self._context.destroy(LINGER_MS)

    def _socket(self, kind: int, address: str) -> "zmq.Socket[bytes]":
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.IPV6, "[" in address)  # only where it is asked for, or localhost may mean ::1 here and not there
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.setsockopt(zmq.SNDHWM, self.limits.high_water_mark)
        socket.setsockopt(zmq.RCVHWM, self.limits.high_water_mark)
        socket.setsockopt(zmq.MAXMSGSIZE, self.limits.message_bytes_max)  # refused before it is allocated
        if address.startswith("tcp://"):  # on a socket file the kernel tells, and a run may be suspended for as long as one likes
            socket.setsockopt(zmq.HEARTBEAT_IVL, int(self.limits.silence_s * 1000 / 4))
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(self.limits.silence_s * 1000))
        return socket

    def _follow(self, monitor: InboxMonitor | LinkMonitor) -> None:
        self._monitors[monitor.events] = monitor
        self._poller.register(monitor.socket, zmq.POLLIN)
        self._poller.register(monitor.events, zmq.POLLIN)

    def _try(self, peer: str, frames: list[Frame]) -> bool:
        """Sends now, or drops what is for a peer that has gone, and gives True; or False when the queue is full."""
        link = self._links.get(peer)
        parts: list[Any] = frames if link is not None else [peer.encode(), *frames]
        socket = link or self._inbox
        if socket is None or peer in self._ended or (link is None and peer.startswith(self._own)):
            return True
        try:
            socket.send_multipart(parts, zmq.DONTWAIT)  # copies: below a megabyte that is cheaper than lending
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:  # a caller that has gone; poll() tells
                raise
        return True

    def _flush(self) -> bool:
        """Sends what waits in the outboxes; says whether they are empty now."""
        for peer, waiting in list(self._outbox.items()):
            while waiting and self._try(peer, waiting[0]):
                waiting.popleft()
            if not waiting:
                del self._outbox[peer]
        return not self._outbox

    def _rest(self) -> list[Arrival]:
        """All that every peer can have put into a queue by now."""
        sockets = [socket for socket in (self._inbox, *self._links.values()) if socket is not None]
        most = self.limits.high_water_mark * (len(self._callers) + 1)
        return [arrival for socket in sockets for arrival in self._drain(socket, most)]

    def _drain(self, socket: "zmq.Socket[bytes]", most: int = BURST) -> list[Arrival]:
        peer = next((name for name, link in self._links.items() if link is socket), None)
        arrivals: list[Arrival] = []
        with contextlib.suppress(zmq.Again):
            for _ in range(most):
                parts = socket.recv_multipart(zmq.DONTWAIT, copy=False)
                frames = [part.buffer for part in parts]
                self.bytes_received += sum(frame.nbytes for frame in frames)
                try:
                    sender = peer if peer is not None else self._caller(bytes(frames.pop(0)))
                    message = decode(frames, self.limits.message_bytes_max)
                except (WireError, UnicodeDecodeError):
                    self.refused += 1
                    continue
                if sender in self._ended:
                    continue
                if peer is None:
                    self._callers.add(sender)
                if message.kind is not Kind.PING:  # which the transports exchange among themselves
                    key = str(parts[0].get("User-Id")) if peer is None and self._keys is not None else ""  # as ZAP found it
                    arrivals.append(Received(sender, message, key))
        return arrivals

    def _caller(self, routing_id: bytes) -> str:
        """The name of whoever writes to the inbox; nobody may take the name of a peer that this side connects to."""
        name = routing_id.decode()
        if name in self._links or name.startswith(self._own):
            raise WireError(f"a stranger that calls itself {name}.")
        return name

    def _lost(self, monitor: InboxMonitor | LinkMonitor) -> list[str]:
        """The peer that a lost connection cut off, if this side connected to it; callers are left to `_gone`."""
        if isinstance(monitor, LinkMonitor):
            return [monitor.peer] if monitor.lost() else []
        if broken := monitor.broken():
            self._unexplained += broken
            self._search_at, self._search_until = 0.0, time.monotonic() + SEARCH_S
        return []

    def _gone(self) -> list[str]:
        """The callers that lost connections cut off.

        libzmq does not say which caller it was. One that has gone cannot be routed to, but only some moments after the
        event, so the search goes on until every lost connection is explained or must have been a stranger's.
        """
        now = time.monotonic()
        if not self._unexplained or now < self._search_at:
            return []
        gone = [caller for caller in sorted(self._callers) if not self._reaches(caller)]
        self._unexplained = max(self._unexplained - len(gone), 0) if now < self._search_until else 0
        self._search_at = now + SEARCH_EVERY_S
        return gone

    def _reaches(self, caller: str) -> bool:
        assert self._inbox is not None
        try:
            self._inbox.send_multipart([caller.encode(), *encode(Message(Kind.PING))], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            return error.errno != zmq.EHOSTUNREACH
        return True


def _bind_error(address: str, error: zmq.ZMQError) -> Exception:
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{address} is too long for a socket file. Set TMPDIR to a folder with a shorter name.")
    if error.errno == zmq.EADDRINUSE:
        return RunFailed(f"{address} is in use by another process. Stop it, or choose another port.")
    return UsageError(
        f"Cannot listen on {address}: {error.strerror}. Give an address of this machine, like tcp://127.0.0.1:5555."
    )
