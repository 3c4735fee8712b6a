"""A transport made worse on purpose: what arrives is handed over late, and some gradients never."""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable

from decoupled.transport.interface import Arrival, Limits, Received, Transport
from decoupled.wire.messages import Kind, Message


class Hindered:
    """A Transport whose arrivals are `latency_s` late and whose gradients get lost with probability `drop`.

    With it at both ends of a link, each direction has that latency. Only gradients are lost: they are hints, and no
    schedule but dni can do without them.
    """

    def __init__(
        self,
        inner: Transport,
        latency_s: float,
        drop: float,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._latency_s, self._drop, self._clock = inner, latency_s, drop, clock
        self._random = random.Random(seed)
        self._late: deque[tuple[float, Arrival]] = deque()  # when each is due, the earliest first

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

    def admit(self, keys: Iterable[str]) -> None:
        self._inner.admit(keys)

    def send(self, peer: str, message: Message) -> None:
        self._inner.send(peer, message)

    def poll(self, timeout_s: float) -> list[Arrival]:
        if self._late:
            wait_s = max(self._late[0][0] - self._clock(), 0.0)
            timeout_s = min(timeout_s, math.ceil(wait_s * 1000) / 1000)  # sockets wait for whole milliseconds
        arrivals = self._inner.poll(timeout_s)
        now = self._clock()
        self._late += ((now + self._latency_s, arrival) for arrival in arrivals if not self._is_lost(arrival))
        due = []
        while self._late and self._late[0][0] <= now:
            due.append(self._late.popleft()[1])
        return due

    def close(self) -> None:
        self._inner.close()

    def _is_lost(self, arrival: Arrival) -> bool:
        is_hint = isinstance(arrival, Received) and arrival.message.kind is Kind.GRADIENT
        return is_hint and self._random.random() < self._drop
