"""The rendezvous: who has joined, and which stage each becomes. Pure: it sees names and addresses, no sockets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker that has joined: the name to answer to, where its inbox is, and the public key it has proven to have."""

    peer: str
    address: str
    host: str
    pid: int
    key: str = ""


class Rendezvous:
    """Seats workers in the order they come, until there is one for each stage."""

    def __init__(self, stages: int, version: str) -> None:
        self._stages, self._version = stages, version
        self.seats: list[Seat] = []

    def join(self, seat: Seat, version: str) -> str | None:
        """Seats a worker; gives the reason when it is refused."""
        if version != self._version:
            return f"the worker has version {version} of decoupled and the coordinator {self._version}; install the same on both"
        if any(seat.peer == other.peer for other in self.seats):
            return None
        if self.is_complete:
            return f"all {self._stages} stages of the run are taken; start no more workers than it asks for"
        self.seats.append(seat)
        return None

    def leave(self, peer: str) -> None:
        """Frees the seat of a worker that has gone before the run began."""
        self.seats = [seat for seat in self.seats if seat.peer != peer]

    def stage_of(self, peer: str) -> int | None:
        """The stage that a worker is, if it has a seat."""
        return next((stage for stage, seat in enumerate(self.seats) if seat.peer == peer), None)

    @property
    def is_complete(self) -> bool:
        return len(self.seats) == self._stages
