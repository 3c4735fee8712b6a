"""A faulty transport in a test's hands: the clock and the inner transport are the test's."""

from collections import deque
from collections.abc import Iterable, Sequence

from decoupled.transport.faulty import FaultyTransport, LinkFault
from decoupled.transport.interface import Arrival, Limits, Received
from decoupled.wire.messages import Kind, Message


class Inner:
    """A transport that hands over what the test has put into it, and notes what it is asked."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.arrived: deque[Arrival] = deque()
        self.timeouts: list[float] = []
        self.asked: list[tuple[object, ...]] = []
        self.bytes_sent, self.bytes_received = 11, 22

    def bind(self, address: str) -> str:
        return f"{address}-bound"

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        self.asked.append(("connect", peer, address, name, key))

    def admit(self, keys: Iterable[str]) -> None:
        self.asked.append(("admit", *keys))

    def disconnect(self, peer: str) -> None:
        self.asked.append(("disconnect", peer))

    def send(self, peer: str, message: Message) -> None:
        self.asked.append(("send", peer, message))

    def poll(self, timeout_s: float) -> list[Arrival]:
        self.timeouts.append(timeout_s)
        arrivals = list(self.arrived)
        self.arrived.clear()
        return arrivals

    def close(self) -> None:
        self.asked.append(("close",))


class Link:
    """A faulty transport with its clock."""

    def __init__(self, latency_s: float = 0.0, drop: float = 0.0, seed: int = 0, link_faults: Sequence[LinkFault] = ()) -> None:
        self.now, self.inner = 100.0, Inner()
        self.faulty = FaultyTransport(self.inner, link_faults or [LinkFault(latency_s, drop)], seed, clock=lambda: self.now)

    def arrive(self, *numbers: int, kind: Kind = Kind.ACTIVATION, peer: str = "peer") -> None:
        self.inner.arrived += [Received(peer, Message(kind, microbatch=m)) for m in numbers]

    def heard(self, timeout_s: float = 0.0) -> list[int]:
        arrivals = self.faulty.poll(timeout_s)
        return [arrival.message.microbatch for arrival in arrivals if isinstance(arrival, Received)]
