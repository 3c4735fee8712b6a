"""A tap on the wire: a TCP relay that keeps every byte that passes. It works while it is polled, without a thread."""

import contextlib
import selectors
import socket
import struct
import time
from typing import Any

RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: closing breaks the connection off, with a RST


class Tap:
    """Relays between those who connect to `address` and the process at `target`, in both directions."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._port = socket.socket()  # never listens: keeps the port while connections to it are refused
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._port.getsockname()[1]}"
        self.heard = bytearray()
        self._listener: socket.socket | None = None
        self._opens_at = 0.0
        self._listen()

    def poll(self, timeout_s: float) -> list[Any]:
        """Passes on what has come; hears nothing itself, so that a tap can stand among transports."""
        if self._listener is None and time.monotonic() >= self._opens_at:
            self._listen()
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._relay(key.fileobj, key.data)
        return []

    @property
    def is_open(self) -> bool:
        """Whether it can be connected to."""
        return self._listener is not None

    def cut(self, refuse_s: float = 0.0) -> int:
        """Resets every connection that is relayed now, and refuses others for so long; gives how many there were."""
        relayed = (len(self._selector.get_map()) - self.is_open) // 2
        for key in list(self._selector.get_map().values()):
            end: Any = key.fileobj
            if end is not self._listener:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            elif refuse_s:
                self._listener, self._opens_at = None, time.monotonic() + refuse_s
            else:
                continue
            self._selector.unregister(end)
            end.close()
        return relayed

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._port.close()

    def _listen(self) -> None:
        self._listener = socket.create_server(self._port.getsockname())
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        assert self._listener is not None
        caller, _ = self._listener.accept()
        host, port = self._target.removeprefix("tcp://").split(":")
        try:
            callee = socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            caller.close()
            return
        self._selector.register(caller, selectors.EVENT_READ, callee)
        self._selector.register(callee, selectors.EVENT_READ, caller)

    def _relay(self, source: Any, target: socket.socket) -> None:
        try:
            data = source.recv(1 << 16)
            target.sendall(data)
        except OSError:
            data = b""
        self.heard += data
        if not data:
            for end in (source, target):
                with contextlib.suppress(KeyError, ValueError):  # the other end was ready, too, and has ended this one
                    self._selector.unregister(end)
                end.close()
