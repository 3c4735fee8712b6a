"""The in-process twin of the ZeroMQ transport: a simulated network with its own clock and seeded faults.

A whole cluster runs in one process and one thread, the same way for the same seed. Messages pass through the codec, so
what arrives is read-only and whole, as it would be from a socket.
"""

import contextlib
import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from decoupled.transport.interface import Arrival, Disconnected, Limits, Received
from decoupled.wire.codec import WireError, decode, encode
from decoupled.wire.messages import Kind, Message


@dataclass(frozen=True, slots=True)
class Faults:
    """What the network does to messages. Loss, duplication and jitter strike gradients only: they are hints."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    drop: float = 0.0  # probability
    duplicate: float = 0.0  # probability


@dataclass(frozen=True, slots=True, order=True)
class _InFlight:
    """A message on its way; messages sort by when they are due, then by when they were sent."""

    due: float
    order: int
    sender: str = field(compare=False)  # its address
    name: str = field(compare=False)  # what the receiver calls the sender
    message: Message | None = field(compare=False)  # None: the news that the sender has gone


class SimulatedNetwork:
    """The clock, the wires and the faults that all endpoints share."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self.now = 0.0
        self.partitioned: set[frozenset[str]] = set()  # pairs of addresses whose messages wait until it heals
        self._faults, self._random = faults or Faults(), random.Random(seed)
        self._order = count()
        self._wires: dict[str, list[_InFlight]] = {}  # by the receiver's address
        self._crashed: set[str] = set()  # addresses where nobody is any more
        self._names: dict[tuple[str, str], tuple[str, str]] = {}  # (address, peer there): where that peer is, our name there

    def endpoint(self) -> "SimulatedTransport":
        """A new, unbound endpoint on this network."""
        return SimulatedTransport(self)

    @property
    def links(self) -> list[tuple[str, str]]:
        """Every address that can send, with what it calls whom it can send to."""
        return list(self._names)

    def link(self, caller: str, peer: str, address: str, name: str) -> None:
        """Makes `peer` at `address` reachable from `caller`, and `caller`, there called `name`, from `address`."""
        self._names[caller, peer] = address, name
        self._names[address, name] = caller, peer

    def unlink(self, caller: str, peer: str) -> None:
        """Ends that link: what is under way from either side of it never comes."""
        address, name = self._names.pop((caller, peer), ("", ""))
        self._names.pop((address, name), None)
        for there, names in ((address, name), (caller, peer)):
            wire = [envelope for envelope in self._wires.get(there, []) if envelope.name != names]
            heapq.heapify(wire)
            self._wires[there] = wire

    def crash(self, address: str) -> None:
        """Whoever is at that address is gone; its peers hear of it."""
        self._crashed.add(address)
        for (caller, peer), (other, name) in list(self._names.items()):
            if caller == address:
                del self._names[caller, peer]
                self._names.pop((other, name), None)
                if other not in self._crashed:
                    envelope = _InFlight(self.now, next(self._order), address, name, None)
                    heapq.heappush(self._wires.setdefault(other, []), envelope)
        self._wires[address] = []

    def carry(self, sender: str, peer: str, message: Message) -> None:
        """Puts a message on the wire, unless chance takes it; a hint may be late or come twice."""
        address, name = self._names.get((sender, peer), ("", ""))
        if not address or address in self._crashed:
            return
        for _ in range(self._copies(message)):
            jitter = self._random.random() * self._faults.jitter_s if message.kind is Kind.GRADIENT else 0.0
            due = self.now + self._faults.latency_s + jitter
            heapq.heappush(self._wires.setdefault(address, []), _InFlight(due, next(self._order), sender, name, message))

    def _copies(self, message: Message) -> int:
        if message.kind is not Kind.GRADIENT:
            return 1
        if self._random.random() < self._faults.drop:
            return 0
        return 2 if self._random.random() < self._faults.duplicate else 1

    def deliver(self, address: str) -> list[Arrival]:
        """What is due at `address` now; what would cross a partition stays on the wire."""
        wire = self._wires.get(address, [])
        held, arrivals = list[_InFlight](), list[Arrival]()
        while wire and wire[0].due <= self.now:
            envelope = heapq.heappop(wire)
            if self._is_cut(address, envelope.sender):
                held.append(envelope)
            elif envelope.message is None:
                arrivals.append(Disconnected(envelope.name))
            else:
                frames = [memoryview(frame).tobytes() for frame in encode(envelope.message)]
                with contextlib.suppress(WireError):  # refused, as by a socket
                    arrivals.append(Received(envelope.name, decode(frames)))
        for envelope in held:
            heapq.heappush(wire, envelope)
        return arrivals

    def next_due(self) -> float | None:
        """When the next message is due, if any is on its way and not held by a partition."""
        dues = (p.due for address, wire in self._wires.items() for p in wire if not self._is_cut(address, p.sender))
        return min(dues, default=None)

    def _is_cut(self, address: str, other: str) -> bool:
        return frozenset((address, other)) in self.partitioned


class SimulatedTransport:
    """A Transport on a SimulatedNetwork. `poll` never waits: the clock moves only when the network's owner moves it."""

    bytes_sent = bytes_received = 0

    def __init__(self, network: SimulatedNetwork) -> None:
        self.limits = Limits()
        self._network, self._address = network, ""

    def bind(self, address: str) -> str:
        self._address = address
        return address

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        self._network.link(self._address, peer, address, name)

    def disconnect(self, peer: str) -> None:
        self._network.unlink(self._address, peer)

    def admit(self, keys: Iterable[str]) -> None:
        """Nobody comes in from outside."""

    def send(self, peer: str, message: Message) -> None:
        self._network.carry(self._address, peer, message)

    def poll(self, timeout_s: float) -> list[Arrival]:
        return self._network.deliver(self._address)

    def close(self) -> None:
        """Nothing to release."""
