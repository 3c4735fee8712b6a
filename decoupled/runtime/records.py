"""One record for each microbatch in flight in a stage, from its arrival to its last use. Everything about it is here."""

from dataclasses import dataclass

from decoupled.nn.stage import Pass
from decoupled.schedules.interface import Schedule
from decoupled.tensors import Tensors
from decoupled.wire.messages import Message


@dataclass(slots=True, eq=False)
class Record:
    """A microbatch: its input until the forward pass, then its pass until nobody needs it, its output until it is sent."""

    x: Tensors | None
    targets: Tensors
    training: bool = True
    ends_minibatch: bool = True
    passed: Pass | None = None  # of the forward pass, while a gradient is to go back through it or refine the head
    version: int = 0  # of the forward pass
    gradients: Tensors | None = None  # of the outputs: the loss's, or the returned ones
    guess: Tensors | None = None  # that the update was made with, where it is to be corrected
    guessed_dx: Tensors | None = None  # what follows from it for the inputs
    is_used: bool = False  # the gradients, for a backward pass or to refine
    is_true: bool = True  # no stage below has guessed the gradients
    output: Message | None = None  # while it waits for room downstream

    @property
    def is_over(self) -> bool:
        """Nobody needs it any more."""
        return self.x is None and self.passed is None and self.output is None


def validate(records: dict[int, Record], schedule: Schedule) -> None:
    """Raises AssertionError unless the records, the schedule and its links agree on what is in flight."""
    waiting = [m for m, record in records.items() if record.x is not None]
    assert waiting == schedule.upstream.waiting, f"{waiting} arrived, and {schedule.upstream.waiting} are in the inbox"
    held = {m for m, record in records.items() if record.x is None}
    needed = schedule.held | set(schedule.downstream.unsent)
    assert held == needed, f"{sorted(held)} are held, and {sorted(needed)} are needed"
    unsent = {m for m, record in records.items() if record.output is not None}
    assert unsent >= set(schedule.downstream.unsent), f"{sorted(unsent)} are kept, and {schedule.downstream.unsent} wait"
    assert not any(record.is_over for record in records.values()), "a record is kept that nobody needs"
    link = schedule.downstream
    assert 0 <= link.room <= link.window, f"room for {link.room} in an inbox of {link.window}"
    assert not (link.is_lost and link.room), "a lost neighbour has room"
