"""A tap on the wire: a TCP relay that keeps every byte that passes. It works while it is polled, without a thread."""

import contextlib
import selectors
import socket
from typing import Any


class Tap:
    """Relays between those who connect to `address` and the process at `target`, in both directions."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heard = bytearray()

    def poll(self, timeout_s: float) -> list[Any]:
        """Passes on what has come; hears nothing itself, so that a tap can stand among transports."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._relay(key.fileobj, key.data)
        return []

    def cut(self) -> None:
        """Breaks every connection that is relayed now; those who had them may connect again."""
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._listener:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _accept(self) -> None:
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
