"""Addresses: where a process may listen. Only on loopback, unless keys keep strangers out or the user trusts the network."""

import ipaddress
import logging
import socket
from pathlib import Path
from typing import TypeAlias

from decoupled.errors import UsageError

LOG = logging.getLogger(__name__)  # goes to stderr unless the caller has other plans
PATH_BYTES_MAX = 107  # of a socket file, by the kernel

Number: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def listening(address: str, insecure: bool, has_keys: bool = False) -> str:
    """`address` with its host as a number, if this process may listen there.

    Without keys anyone who reaches an open port can send to it, so only loopback is allowed unless `insecure`, and then a
    warning is logged. Raises UsageError.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "ipc" and rest:
        if Path(rest).exists() and not Path(rest).is_socket():
            raise UsageError(f"{rest} is a file and would be overwritten. Give another path for the socket.")
        return address
    number, port = _parts(address)
    if not number.is_loopback and not has_keys:
        danger = f"{address} can be reached from other hosts, and what travels is neither encrypted nor authenticated."
        if not insecure:
            raise UsageError(
                f"{danger} Give --keys (`decoupled keys make` makes them) or, if every host there is trusted, add --insecure."
            )
        LOG.warning("warning: %s", danger)
    return f"tcp://[{number}]:{port}" if number.version == 6 else f"tcp://{number}:{port}"


def is_wildcard(address: str) -> bool:
    """Whether a tcp:// address stands for all of this host's. Raises UsageError as `is_loopback`."""
    return _parts(address)[0].is_unspecified


def is_loopback(address: str) -> bool:
    """Whether a tcp:// address is this host's own. Raises UsageError when it is malformed or its host does not exist."""
    return _parts(address)[0].is_loopback


def can_be_linked(address: str) -> bool:
    """Whether an address, which may be a stranger's, is of a form that every transport takes; nothing is looked up for it."""
    scheme, _, rest = address.partition("://")
    if scheme != "tcp":
        return scheme in ("ipc", "memory") and 0 < len(rest.encode()) <= PATH_BYTES_MAX and "\0" not in rest
    host, _, port = rest.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return _is_port(port) and int(port) > 0


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) < 1 << 16


def host_and_port(address: str) -> tuple[str, str]:
    """The two parts of a tcp:// address as they stand there; the port is * for any. Raises UsageError for anything else."""
    scheme, _, rest = address.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme != "tcp" or not colon or not (port == "*" or _is_port(port)):
        raise UsageError(f"{address} is not an address. Give one like tcp://127.0.0.1:5555.")
    return host.strip("[]"), port


def _parts(address: str) -> tuple[Number, str]:
    """The host as a number, and the port, which is * for any."""
    host, port = host_and_port(address)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return ipaddress.ip_address(found[0][4][0]), port
    except (OSError, ValueError, UnicodeError):
        raise UsageError(
            f"{address}: there is no host {host!r}. Give an address of this machine, like tcp://127.0.0.1:5555."
        ) from None
