"""Serving the page: one server for one run, until it is interrupted."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from decoupled.errors import UsageError
from decoupled.watch.address import is_private
from decoupled.watch.application import Order, application
from decoupled.watch.follow import Follower


def serve(folder: Path, address: str, order: Order | None, say: Callable[[str], None]) -> None:
    """Serves the run in a folder at an address that `check` has passed; `say` hears where, as soon as browsers can connect.

    Raises UsageError when that address cannot be had.
    """
    name = address.rpartition(":")[0]
    with _listen(address) as listener:
        host, port = listener.getsockname()[:2]
        number = f"[{host}]" if ":" in host else host
        say(f"http://{number}:{port}")
        hosts = ["localhost", number, name] if is_private(address) else ["*"]
        config = uvicorn.Config(
            application(Follower(folder), hosts, order),
            log_level="critical",  # it would tell of every stream that ends with the server
            access_log=False,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        return socket.create_server(where[:2], family=family)
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # its own says more
        raise UsageError(f"The page cannot be served at {address}: {reason}. Choose another address.") from None
