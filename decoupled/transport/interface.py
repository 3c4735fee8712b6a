"""The interface of every transport, and what it may be asked to respect."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from decoupled.wire.codec import MESSAGE_BYTES_MAX
from decoupled.wire.messages import Message


@dataclass(frozen=True, slots=True)
class Received:
    """A message by the link `peer`, and the public key that its connection has proven, or "" on links without keys."""

    peer: str
    message: Message
    key: str = ""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link `peer` broke. Nothing comes by it any more, and what is sent by it is dropped."""

    peer: str


Arrival: TypeAlias = Received | Disconnected


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a link holds and how long it may be silent."""

    high_water_mark: int = 64  # messages in a socket's queue, each way
    message_bytes_max: int = MESSAGE_BYTES_MAX
    silence_s: float = 30.0  # a peer on a network whose transport has been silent for so long is gone


class Transport(Protocol):
    """Named links to send by and to hear from.

    A `peer` is the name of a link, not of a process: the side that connects names it once for itself (`peer`) and once for
    the other side (`name`), and a link that takes the place of one that broke has two new names.

    Messages of one link come in the order they were sent. If the link breaks, one Disconnected comes after the last of them;
    after that, and after `disconnect`, nothing comes by it. What `poll` has given already is not taken back. Before the
    Disconnected a message may be missing between two that came, where the connection was restored for a moment.
    """

    limits: Limits  # of the inboxes and links that are made from now on

    @property
    def bytes_sent(self) -> int: ...
    @property
    def bytes_received(self) -> int: ...

    def bind(self, address: str) -> str:
        """Opens the inbox for peers that connect, in place of one that is open; gives the address they can use."""

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        """Makes the link `peer` to the inbox at `address`, where it is known as `name`. The inbox may be opened later.

        With keys, nothing is said to a side that does not prove to have `key`. A link of the same name is ended.
        """

    def admit(self, keys: Iterable[str]) -> None:
        """With keys, lets those who have one of these public keys call this side's inbox. Before, nobody is let in."""

    def disconnect(self, peer: str) -> None:
        """Ends a link that this side made, if it is there; what has not been sent is dropped, and nothing more comes by it."""

    def send(self, peer: str, message: Message) -> None:
        """Sends, or queues for sending; never blocks. A message by a link that has ended is dropped."""

    def poll(self, timeout_s: float) -> list[Arrival]:
        """What has arrived, after at most `timeout_s` if nothing has yet."""

    def close(self) -> None: ...
