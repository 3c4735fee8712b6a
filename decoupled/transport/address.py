"""Addresses: where a process may listen. Loopback unless the user says that the network can be trusted."""

import ipaddress
import socket

from decoupled.errors import UsageError


def listening(address: str, insecure: bool) -> str:
    """`address` with its host as a number, if this process may listen there.

    Anyone who reaches an open port can send to it, so only loopback is allowed unless `insecure`. Raises UsageError.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "ipc" and rest:
        return address
    host, colon, port = rest.rpartition(":")
    if scheme != "tcp" or not colon or not _is_port(port):
        raise UsageError(f"{address} is not an address. Give one like tcp://127.0.0.1:5555.")
    number = _number(host.strip("[]"), address)
    if not number.is_loopback and not insecure:
        raise UsageError(
            f"{address} can be reached from other hosts, and what travels is neither encrypted nor authenticated. "
            "If every host on that network is trusted, add --insecure."
        )
    return f"tcp://[{number}]:{port}" if number.version == 6 else f"tcp://{number}:{port}"


def _is_port(text: str) -> bool:
    return text == "*" or (text.isdecimal() and len(text) <= 5 and int(text) < 1 << 16)


def _number(host: str, address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return ipaddress.ip_address(found[0][4][0])
    except (OSError, ValueError, UnicodeError):
        raise UsageError(
            f"{address}: there is no host {host!r}. Give an address of this machine, like tcp://127.0.0.1:5555."
        ) from None
