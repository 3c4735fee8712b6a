"""Socket monitors: what libzmq reports of an inbox and of links, their handshakes and the connections that broke."""

import contextlib
from collections.abc import Callable, Iterator

import zmq
from zmq.utils.monitor import recv_monitor_message

from decoupled.errors import RunFailed

BROKEN_OFF = 10  # handshakes, within a second or two, after which this is said; a peer that is busy or not there breaks none off
REASONS = {
    int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH): "it has no keys",
    int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC): "it does not know this side's public key",
}


class SocketMonitor:
    """The monitor of a socket. It begins before the socket is bound or connected, or the first events could be missed."""

    def __init__(self, socket: "zmq.Socket[bytes]", events: int) -> None:
        self.socket, self.events = socket, socket.get_monitor_socket(events)

    def close(self) -> None:
        """Closes the socket, with all that waits in it, and its monitor."""
        self.socket.disable_monitor()  # first, or libzmq would wait for somebody to take its events
        self.events.close(linger=0)
        self.socket.close(linger=0)

    def _new_events(self) -> Iterator[tuple[int, int]]:
        """What has happened since the last look, and the value that came with it."""
        with contextlib.suppress(zmq.Again):
            while True:
                message = recv_monitor_message(self.events, zmq.DONTWAIT)
                yield int(message["event"]), int(message["value"])


class InboxMonitor(SocketMonitor):
    """Counts connections that broke; with keys, `log` hears of those that broke before they could be asked about."""

    def __init__(self, inbox: "zmq.Socket[bytes]", log: Callable[[str], None] | None) -> None:
        failures = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL if log is not None else 0
        super().__init__(inbox, zmq.EVENT_DISCONNECTED | failures)
        self._log = log

    def broken(self) -> int:
        """How many connections have broken since the last look. libzmq does not say whose."""
        broken = 0
        for event, value in self._new_events():
            if event == zmq.EVENT_DISCONNECTED:
                broken += 1
            elif self._log is not None:
                reason = REASONS.get(value, "it broke off before it had proven who it is")
                self._log(f"refused a connection to {self.socket.getsockopt_string(zmq.LAST_ENDPOINT)}: {reason}.")
        return broken


class LinkMonitor(SocketMonitor):
    """Tells when a link that stood has broken, and when it never will stand; doubts go to `log`."""

    def __init__(self, link: "zmq.Socket[bytes]", peer: str, address: str, has_keys: bool, log: Callable[[str], None]) -> None:
        failures = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        super().__init__(link, zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | failures)
        self.peer, self._address, self._has_keys, self._log = peer, address, has_keys, log
        self._stands = self._has_stood = False
        self._broken_off = 0

    def lost(self) -> bool:
        """Whether the link has broken since the last look. Raises RunFailed when the other side refuses it."""
        is_lost = False
        for event, value in self._new_events():
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._stands = self._has_stood = True
            elif event == zmq.EVENT_DISCONNECTED:
                is_lost, self._stands = is_lost or self._stands, False
            elif not self._has_stood:
                self._failed(event, value)
        return is_lost

    def _failed(self, event: int, value: int) -> None:
        """What the other side refuses libzmq does not try again. What it breaks off may be better later, as behind a tunnel."""
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise RunFailed(f"{self._address} refused this process, because it does not know its public key.")
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            this, other = ("with", "without") if self._has_keys else ("without", "with")
            raise RunFailed(f"{self._address} runs {other} keys and this process {this}. Start both with --keys.")
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            raise RunFailed(f"{self._address} does not speak as a process of decoupled does. Is it the right address?")
        self._broken_off += 1
        if self._broken_off == BROKEN_OFF:
            why = "Has it another key than is expected of it, or none?" if self._has_keys else "Does it want keys?"
            self._log(f"{self._address} breaks off every connection before it stands. {why} Still trying.")
