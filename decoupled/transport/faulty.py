"""A transport made worse on purpose: what arrives is handed over late, and some gradients never."""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from decoupled.transport.interface import Arrival, Limits, Received, Transport
from decoupled.wire.messages import Kind, Message

HEADER_BYTES = 300  # about as much as a message has beside its arrays


@dataclass(frozen=True, slots=True)
class LinkFault:
    """What happens to arrivals from peers whose names begin with `peer`, from a microbatch on and for some seconds."""

    latency_s: float = 0.0
    drop: float = 0.0  # probability that a gradient is lost; only gradients are: no schedule can do without the rest
    jitter_s: float = 0.0  # up to so much more, by chance
    loss: float = 0.0  # probability that a message takes a round trip more, as one that is sent again
    bytes_per_s: float = math.inf  # that the wire carries; what comes faster queues
    holds: bool = False  # nothing comes until it is over
    peer: str = ""
    from_microbatch: int = 0
    seconds: float | None = None  # None: to the end


class _Active:
    """A link fault and its time: it begins with the first arrival that reaches its microbatch, if there was one before it."""

    def __init__(self, link_fault: LinkFault) -> None:
        self.of = link_fault
        self._is_spared: bool | None = None  # the stage began behind the microbatch, and missed it
        self._begun_at: float | None = None

    def see(self, microbatch: int, now: float) -> None:
        if microbatch < 0:
            return
        if self._is_spared is None:
            self._is_spared = microbatch > self.of.from_microbatch > 0
        if self._begun_at is None and microbatch >= self.of.from_microbatch and not self._is_spared:
            self._begun_at = now

    def ends_at(self, now: float) -> float | None:
        """When it is over, or None when it is not under way."""
        if self.of.from_microbatch == 0 and self.of.seconds is None:
            return math.inf
        end = None if self._begun_at is None else self._begun_at + (math.inf if self.of.seconds is None else self.of.seconds)
        return end if end is not None and now < end else None


class FaultyTransport:
    """A Transport whose arrivals suffer. With one at both ends of a link, each direction does."""

    def __init__(
        self,
        inner: Transport,
        link_faults: Sequence[LinkFault],
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._clock = inner, clock
        self.suffer(link_faults)
        self._random = random.Random(seed)
        self._late: dict[str, deque[tuple[float, Arrival]]] = {}  # by peer: when each is due, in the order they came
        self._free_at: dict[str, float] = {}  # by peer: when its wire has carried all that came

    def suffer(self, link_faults: Sequence[LinkFault]) -> None:
        """Has these link faults from now on, in place of those before."""
        self._link_faults = [_Active(link_fault) for link_fault in link_faults]

    @property
    def limits(self) -> Limits:
        return self._inner.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._inner.limits = limits

    @property
    def bytes_sent(self) -> int:
        return self._inner.bytes_sent

    @property
    def bytes_received(self) -> int:
        return self._inner.bytes_received

    def bind(self, address: str) -> str:
        return self._inner.bind(address)

    def connect(self, peer: str, address: str, name: str, key: str = "") -> None:
        self._inner.connect(peer, address, name, key)
        self._forget(peer)  # of a link before this one

    def admit(self, keys: Iterable[str]) -> None:
        self._inner.admit(keys)

    def disconnect(self, peer: str) -> None:
        self._inner.disconnect(peer)
        self._forget(peer)

    def _forget(self, peer: str) -> None:
        self._late.pop(peer, None)
        self._free_at.pop(peer, None)

    def send(self, peer: str, message: Message) -> None:
        self._inner.send(peer, message)

    def poll(self, timeout_s: float) -> list[Arrival]:
        if self._late:
            wait_s = max(min(waiting[0][0] for waiting in self._late.values()) - self._clock(), 0.0)
            timeout_s = min(timeout_s, math.ceil(wait_s * 1000) / 1000)  # sockets wait for whole milliseconds
        arrivals = self._inner.poll(timeout_s)
        now = self._clock()
        for arrival in arrivals:
            self._take(arrival, now)
        due = []
        for peer, waiting in list(self._late.items()):
            while waiting and waiting[0][0] <= now:
                due.append(waiting.popleft()[1])
            if not waiting:
                del self._late[peer]
        return due

    def close(self) -> None:
        self._inner.close()

    def _take(self, arrival: Arrival, now: float) -> None:
        message = arrival.message if isinstance(arrival, Received) else None
        if message is not None and message.kind is Kind.ACTIVATION:
            for link_fault in self._link_faults:
                link_fault.see(message.microbatch, now)
        waiting = self._late.get(arrival.peer)
        due = waiting[-1][0] if waiting else now  # nothing overtakes what came before it from the same peer
        latency_s, carried = 0.0, now
        for link_fault in self._link_faults:
            end = link_fault.ends_at(now) if arrival.peer.startswith(link_fault.of.peer) else None
            if end is None:
                continue
            latency_s += self._latency(link_fault.of)
            carried = max(carried, self._carry(arrival, now, link_fault.of.bytes_per_s))
            if link_fault.of.holds:
                due = max(due, end)
            if message is not None and message.kind is Kind.GRADIENT and self._random.random() < link_fault.of.drop:
                return
        self._late.setdefault(arrival.peer, deque()).append((max(due, carried + latency_s), arrival))

    def _latency(self, fault: LinkFault) -> float:
        """Of one message."""
        again = 2 * fault.latency_s if fault.loss and self._random.random() < fault.loss else 0.0
        return fault.latency_s + again + (self._random.uniform(0, fault.jitter_s) if fault.jitter_s else 0.0)

    def _carry(self, arrival: Arrival, now: float, bytes_per_s: float) -> float:
        """When the wire has carried this arrival, behind all that came before it from the same peer."""
        if bytes_per_s == math.inf or not isinstance(arrival, Received):
            return now
        size = HEADER_BYTES + sum(array.nbytes for array in arrival.message.tensors)
        self._free_at[arrival.peer] = max(self._free_at.get(arrival.peer, now), now) + size / bytes_per_s
        return self._free_at[arrival.peer]
