"""The in-process twin of the ZeroMQ transport: a simulated network with its own clock and seeded faults.

A whole cluster runs in one process and one thread, the same way for the same seed. Messages pass through the codec, so
what arrives is read-only and whole, as it would be from a socket. It fails in every way that sockets do: a connection
between two living endpoints can be reset and refused, with some of what was under way lost on each side; the news of it can
come late, behind what a newer link brings; queues fill; messages that are too long are refused.
"""

import contextlib
import heapq
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from decoupled.errors import RunFailed
from decoupled.transport.interface import Arrival, Disconnected, Limits, Received
from decoupled.wire.codec import WireError, decode, encode
from decoupled.wire.messages import Kind, Message


@dataclass(frozen=True, slots=True)
class Faults:
    """What the network does to messages. Loss and duplication strike gradients only: they are hints. Order is kept."""

    latency_s: float = 0.0
    jitter_s: float = 0.0  # of gradients
    drop: float = 0.0  # probability
    duplicate: float = 0.0  # probability
    notice_s: float = 0.0  # that the news of a lost connection takes at most


@dataclass(frozen=True, slots=True, order=True)
class _InFlight:
    """A message on its way; messages sort by when they are due, then by when they were sent."""

    due: float
    order: int
    sender: str = field(compare=False)  # its address
    name: str = field(compare=False)  # what the receiver calls the sender
    frames: tuple[bytes, ...] | None = field(compare=False)  # None: the news that the connection is lost
    is_gradient: bool = field(compare=False, default=False)


class SimulatedNetwork:
    """The clock, the wires and the faults that all endpoints share."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self.now = 0.0
        self.partitioned: set[frozenset[str]] = set()  # pairs of addresses whose messages wait until it heals
        self.busy_until: dict[str, float] = {}  # by address: when it has done what it does, and sends what came of it
        self._faults, self._random = faults or Faults(), random.Random(seed)
        self._order = count()
        self._wires: dict[str, list[_InFlight]] = {}  # by the receiver's address
        self._last_due: dict[tuple[str, str], float] = {}  # by receiver and name: nothing overtakes what came before it
        self._crashed: set[str] = set()  # addresses where nobody is any more
        self._peers: dict[tuple[str, str], tuple[str, str]] = {}  # (address, peer there): where that peer is, our name there
        self._callers: dict[tuple[str, str], None] = {}  # (address, peer) of who made each link, in that order
        self._refused_until: dict[tuple[str, str], float] = {}  # by caller and whom it calls: no connection before

    def endpoint(self) -> "SimulatedTransport":
        """A new, unbound endpoint on this network."""
        return SimulatedTransport(self)

    @property
    def links(self) -> list[tuple[str, str]]:
        """Every address that can send, with what it calls whom it can send to."""
        return list(self._peers)

    def link(self, caller: str, peer: str, address: str, name: str) -> None:
        """Makes `peer` at `address` reachable from `caller`, and `caller`, there called `name`, from `address`."""
        self._peers[caller, peer] = address, name
        self._peers[address, name] = caller, peer
        self._callers[caller, peer] = None

    def unlink(self, caller: str, peer: str) -> None:
        """Ends that link: nothing more comes from it to the caller, and what is under way to the other side may be lost."""
        self._lose(caller, peer, 0)
        self._callers.pop((caller, peer), None)
        address, name = self._peers.pop((caller, peer), ("", ""))
        if not address:
            return
        self._peers.pop((address, name), None)
        self._lose(address, name, None)
        self._tell(address, caller, name)

    def reset(self, caller: str, called: str, refuse_s: float = 0.0) -> None:
        """Breaks every connection that one address made to another, which both live on, and refuses others for so long.

        Of what is under way, each side gets a part or nothing. Until it hears of the loss a side goes on sending; what
        the caller sends comes when connections are let in again, as from a socket that connects by itself.
        """
        self._refused_until[caller, called] = self.now + refuse_s
        for address, peer in list(self._callers):
            other, name = self._peers[address, peer]
            if (address, other) == (caller, called):
                for end, far, link in ((address, other, peer), (other, address, name)):
                    self._lose(end, link, None)
                    self._tell(end, far, link)

    def crash(self, address: str) -> None:
        """Whoever is at that address is gone; its peers hear of it."""
        self._crashed.add(address)
        for (here, peer), (other, name) in list(self._peers.items()):
            if here == address:
                del self._peers[here, peer]
                self._peers.pop((other, name), None)
                for end in ((here, peer), (other, name)):
                    self._callers.pop(end, None)
                self._tell(other, address, name)
        self._wires[address] = []

    def _tell(self, address: str, other: str, name: str) -> None:
        """The news that the connection to `name` is lost; it keeps no order with what other links bring."""
        if address not in self._crashed:
            due = self.now + self._random.random() * self._faults.notice_s
            self._push(address, _InFlight(due, next(self._order), other, name, None))

    def _lose(self, address: str, name: str, arrived: int | None) -> None:
        """Of what is under way to `address` from `name`, only so many have been received; None: as chance will."""
        wire = sorted(self._wires.get(address, []))
        own = [message for message in wire if message.name == name]
        kept = own[: self._random.randint(0, len(own)) if arrived is None else arrived]
        self._wires[address] = [message for message in wire if message.name != name] + kept
        heapq.heapify(self._wires[address])

    def carry(self, sender: str, peer: str, message: Message) -> None:
        """Puts a message on the wire, unless chance takes it; a hint may be late or come twice."""
        address, name = self._peers.get((sender, peer), ("", ""))
        if not address or address in self._crashed:
            return
        leaves = max(self.now, self.busy_until.get(sender, 0.0))
        is_caller = (sender, peer) in self._callers
        refused_until = self._refused_until.get((sender, address) if is_caller else (address, sender), 0.0)
        if leaves < refused_until:
            if not is_caller:
                return  # there is no connection to answer by
            leaves = refused_until
        frames = tuple(memoryview(frame).tobytes() for frame in encode(message))  # what was sent is not written again
        for _ in range(self._copies(message)):
            jitter = self._random.random() * self._faults.jitter_s if message.kind is Kind.GRADIENT else 0.0
            due = max(leaves + self._faults.latency_s + jitter, self._last_due.get((address, name), 0.0))
            self._last_due[address, name] = due
            self._push(address, _InFlight(due, next(self._order), sender, name, frames, message.kind is Kind.GRADIENT))

    def _push(self, address: str, message: _InFlight) -> None:
        heapq.heappush(self._wires.setdefault(address, []), message)

    def _copies(self, message: Message) -> int:
        if message.kind is not Kind.GRADIENT:
            return 1
        if self._random.random() < self._faults.drop:
            return 0
        return 2 if self._random.random() < self._faults.duplicate else 1

    def lose_gradient(self) -> bool:
        """Loses the gradient that would arrive next; says whether there was one."""
        waiting = [(message, address) for address, wire in self._wires.items() for message in wire if message.is_gradient]
        if not waiting:
            return False
        message, address = min(waiting)
        self._wires[address].remove(message)
        heapq.heapify(self._wires[address])
        return True

    def under_way(self, sender: str, peer: str) -> int:
        """How many messages that `sender` sent to `peer` have not been taken in yet."""
        address, name = self._peers.get((sender, peer), ("", ""))
        return sum(message.name == name for message in self._wires.get(address, []))

    def deliver(self, address: str) -> list[_InFlight]:
        """What is due at `address` now; what would cross a partition stays on the wire."""
        wire = self._wires.get(address, [])
        held, due = list[_InFlight](), list[_InFlight]()
        while wire and wire[0].due <= self.now:
            message = heapq.heappop(wire)
            (held if self._is_cut(address, message.sender) else due).append(message)
        for message in held:
            heapq.heappush(wire, message)
        return due

    def next_due(self) -> float | None:
        """When the next message can be taken in, if any is on its way and not held by a partition."""
        dues = (
            max(message.due, self.busy_until.get(address, 0.0))
            for address, wire in self._wires.items()
            for message in wire
            if not self._is_cut(address, message.sender)
        )
        return min(dues, default=None)

    def _is_cut(self, address: str, other: str) -> bool:
        return frozenset((address, other)) in self.partitioned


class SimulatedTransport:
    """A Transport on a SimulatedNetwork. `poll` never waits: the clock moves only when the network's owner moves it."""

    bytes_sent = bytes_received = 0

    def __init__(self, network: SimulatedNetwork) -> None:
        self.limits = Limits()
        self.address = ""
        self._network = network
        self._outbox: dict[str, deque[Message]] = {}  # by peer: what its queue has no room for

    def bind(self, address: str) -> str:
        self.address = address
        return address

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        self._network.link(self.address, peer, address, name)

    def disconnect(self, peer: str) -> None:
        self._outbox.pop(peer, None)
        self._network.unlink(self.address, peer)

    def admit(self, keys: Iterable[str]) -> None:
        """Nobody comes in from outside."""

    def send(self, peer: str, message: Message) -> None:
        size = sum(memoryview(frame).nbytes for frame in encode(message))
        if size > self.limits.message_bytes_max:
            raise RunFailed(f"A message of {size:,} bytes is over link.message_bytes_max, {self.limits.message_bytes_max:,}.")
        self._outbox.setdefault(peer, deque()).append(message)
        self._flush()

    def poll(self, timeout_s: float) -> list[Arrival]:
        self._flush()
        arrivals: list[Arrival] = []
        for message in self._network.deliver(self.address):
            if message.frames is None:
                arrivals.append(Disconnected(message.name))
                continue
            with contextlib.suppress(WireError):  # refused, as by a socket
                arrivals.append(Received(message.name, decode(message.frames, self.limits.message_bytes_max)))
        return arrivals

    def close(self) -> None:
        """Nothing to release."""

    def _flush(self) -> None:
        """Sends what the queues have room for; the rest waits here, and nothing blocks."""
        for peer, waiting in self._outbox.items():
            while waiting and self._network.under_way(self.address, peer) < self.limits.high_water_mark:
                self._network.carry(self.address, peer, waiting.popleft())
