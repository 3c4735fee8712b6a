"""Where a process may listen: on loopback, unless the user trusts the network."""

import socket
from typing import Any

import pytest

from decoupled.errors import UsageError
from decoupled.transport.address import can_be_linked, is_wildcard, listening


@pytest.mark.parametrize(
    ("address", "number"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("tcp://127.9.9.9:*", "tcp://127.9.9.9:*"),
        ("tcp://127.0.0.1:65535", "tcp://127.0.0.1:65535"),
        ("tcp://[::1]:5555", "tcp://[::1]:5555"),
        ("tcp://::1:*", "tcp://[::1]:*"),
    ],
)
def test_loopback_is_allowed(address: str, number: str) -> None:
    assert listening(address, insecure=False) == number


def test_localhost_becomes_a_number() -> None:
    assert listening("tcp://localhost:5555", insecure=False) in ("tcp://127.0.0.1:5555", "tcp://[::1]:5555")


@pytest.mark.parametrize("address", ["ipc:///tmp/socket", "ipc://relative"])
def test_a_file_passes_as_it_is(address: str) -> None:
    assert listening(address, insecure=False) == address


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "192.0.2.1", "[::]", "[2001:db8::1]", "0"])
def test_an_address_that_others_can_reach_needs_keys_or_insecure(host: str) -> None:
    address = f"tcp://{host}:5555"

    with pytest.raises(UsageError) as refusal:
        listening(address, insecure=False)

    assert str(refusal.value).startswith(f"{address} can be reached from other hosts")
    assert "Give --keys" in str(refusal.value)
    assert str(refusal.value).endswith("add --insecure.")
    assert "\n" not in str(refusal.value)


def test_an_open_address_is_listened_on_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert listening("tcp://10.0.0.7:5555", insecure=True) == "tcp://10.0.0.7:5555"

    (record,) = caplog.records
    assert record.getMessage().startswith("warning: tcp://10.0.0.7:5555 can be reached from other hosts")


@pytest.mark.parametrize("insecure", [False, True])
def test_keys_open_every_address_and_loopback_needs_none_without_a_word(insecure: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert listening("tcp://10.0.0.7:5555", insecure, has_keys=True) == "tcp://10.0.0.7:5555"
    assert listening("tcp://127.0.0.1:5555", insecure) == "tcp://127.0.0.1:5555"

    assert caplog.records == []


def test_a_name_is_judged_by_the_number_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that looks local may lead elsewhere; what is checked is what is bound."""

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    with pytest.raises(UsageError, match="--insecure"):
        listening("tcp://localhost:5555", insecure=False)
    assert listening("tcp://localhost:5555", insecure=True) == "tcp://10.0.0.7:5555"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:5555",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:http",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:99999999999999999999",
        "http://127.0.0.1:5555",
        "inproc://inbox",
        "ipc://",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"is not an address\. Give one like tcp://127\.0\.0\.1:5555\."):
        listening(address, insecure=False)


@pytest.mark.parametrize("host", ["", "*", "a..b", "\0", "x" * 300])
def test_a_host_that_cannot_be_is_refused_even_on_a_trusted_network(host: str) -> None:
    with pytest.raises(UsageError, match="there is no host"):
        listening(f"tcp://{host}:5555", insecure=True)


@pytest.mark.parametrize(
    ("host", "is_all"), [("0.0.0.0", True), ("[::]", True), ("0", True), ("127.0.0.1", False), ("10.0.0.7", False)]
)
def test_an_address_that_stands_for_all_is_known(host: str, is_all: bool) -> None:
    assert is_wildcard(f"tcp://{host}:*") is is_all


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5555", "tcp://[::1]:1", "tcp://10.0.0.7:65535", "ipc:///tmp/a", "memory://0"]
)
def test_a_worker_can_be_linked_to_at_the_address_that_its_socket_gave(address: str) -> None:
    assert can_be_linked(address)


@pytest.mark.parametrize(
    "address",
    ["tcp://", "tcp://x", "tcp://localhost:1", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://1.2.3.4:99999", "tcp://1.2.3.4:*",
     "tcp://1.2.3.4:\u0661", "ipc://", "ipc://" + "x" * 200, "ipc://a\0b", "udp://1.2.3.4:5", "127.0.0.1:5", ""],
)  # fmt: skip
def test_what_a_stranger_gives_as_its_address_is_not_looked_up_or_tried(address: str) -> None:
    assert not can_be_linked(address)
