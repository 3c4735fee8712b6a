"""Where a run's page may be served: on loopback, unless the user means it to be open to others."""

from decoupled.errors import UsageError
from decoupled.transport.address import is_loopback

ADDRESS = "127.0.0.1:8080"


def check(address: str, allow_faults: bool, insecure: bool) -> str | None:
    """What there is to warn of before a page is served at that address.

    Raises UsageError when it is none, or one that strangers can reach without leave, or with buttons that break things.
    """
    _, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdecimal()):
        raise _is_none(address)
    if is_private(address):
        return None
    if allow_faults:
        raise UsageError(f"Anyone who reaches {address} could kill workers. Leave --allow-faults out, or stay on loopback.")
    if not insecure:
        raise UsageError(f"Anyone who reaches {address} could watch the run. If that is meant, add --insecure.")
    return f"anyone who reaches {address} can watch the run."


def is_private(address: str) -> bool:
    """Whether only this host can reach it. Raises UsageError when it is none."""
    try:
        return is_loopback(f"tcp://{address}")
    except UsageError:
        raise _is_none(address) from None


def _is_none(address: str) -> UsageError:
    return UsageError(f"{address} is no address of this host for a page. Give one like {ADDRESS}.")
