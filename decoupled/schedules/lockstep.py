"""lockstep: plain backprop over the pipeline, one microbatch at a time. Forward, wait for the gradient, backward, update.

All three locks hold (forward, update and backward locking, arXiv 1608.05343, section 1), so one stage works at a time.
"""

from collections import deque

from decoupled.schedules.actions import Action, Backward, Evaluate, Forward, Source, Update
from decoupled.schedules.events import Event, GradientArrived
from decoupled.schedules.inbox import Credit, Inbox
from decoupled.schedules.interface import Place


class Lockstep:
    """The reference schedule: the same weights as backprop in one process."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._inbox, self._credit = Inbox(), Credit(unlimited=place.is_last)
        self._awaited: int | None = None  # the microbatch whose gradient is out
        self._started: deque[Action] = deque()

    @property
    def finished(self) -> bool:
        return self._inbox.exhausted and self._awaited is None and not self._started

    def receive(self, event: Event) -> None:
        self._inbox.receive(event)
        self._credit.receive(event)
        match event:
            case GradientArrived(microbatch=m) if m == self._awaited:
                self._awaited = None
                self._back(m)

    def next_action(self) -> Action | None:
        if self._started:
            return self._started.popleft()
        if self._awaited is not None or self._inbox.head is None or not self._credit.available:
            return None
        self._credit.spend()
        taken = self._inbox.take()
        if not taken.training:
            return Evaluate(taken.microbatch)
        if self._place.is_last:  # its gradient is the loss's, here as soon as the forward pass is done
            self._back(taken.microbatch)
        else:
            self._awaited = taken.microbatch
        return Forward(taken.microbatch)

    def _back(self, m: int) -> None:
        self._started.extend((Backward(m, Source.TRUE, send=not self._place.is_first), Update()))
