"""The interface of every transport, and what it may be asked to respect."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from decoupled.wire.codec import MESSAGE_BYTES_MAX
from decoupled.wire.messages import Message


@dataclass(frozen=True, slots=True)
class Received:
    """A message from `peer`, and the public key that its connection has proven, or "" on links without keys."""

    peer: str
    message: Message
    key: str = ""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link to `peer` broke."""

    peer: str


Arrival: TypeAlias = Received | Disconnected


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a link holds and how long it may be silent."""

    high_water_mark: int = 64  # messages in a socket's queue, each way
    message_bytes_max: int = MESSAGE_BYTES_MAX
    silence_s: float = 30.0  # a peer on a network whose transport has been silent for so long is gone


class Transport(Protocol):
    """Named peers to send to and to hear from. Messages from one peer come in the order they were sent."""

    limits: Limits  # of the links that are made from now on

    @property
    def bytes_sent(self) -> int: ...
    @property
    def bytes_received(self) -> int: ...

    def bind(self, address: str) -> str:
        """Opens the inbox for peers that connect; gives the address they can use."""

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        """Links to `peer` at `address`, where this side is known as `name`. The peer may open its inbox later.

        With keys, nothing is said to a peer that does not prove to have `key`. A peer that was linked to already is from now
        on the one at this address.
        """

    def admit(self, keys: Iterable[str]) -> None:
        """With keys, lets those who have one of these public keys call this side's inbox. Before, nobody is let in."""

    def disconnect(self, peer: str) -> None:
        """Ends the link to a peer that this side connected to, if there is one; what has not been sent is dropped."""

    def send(self, peer: str, message: Message) -> None:
        """Sends, or queues for sending; never blocks. A message to a peer that has gone is dropped."""

    def poll(self, timeout_s: float) -> list[Arrival]:
        """What has arrived, after at most `timeout_s` if nothing has yet."""

    def close(self) -> None: ...
