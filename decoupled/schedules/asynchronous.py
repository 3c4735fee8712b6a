"""async1f1b: backprop over the pipeline without a flush (PipeDream; Narayanan et al. 2019, section 3.2).

Every microbatch's true gradient comes back and makes an update at once, while later microbatches are on their way. So there is
no bubble, and a gradient is of weights that are a few updates old: as many as were in flight behind its microbatch. A pass goes
back with the weights that it went forward with. Nothing is guessed and nothing may be lost: when a stage stops, so do all.
"""

from collections import deque

from decoupled.schedules.actions import Action, Backward, EndFeed, Evaluate, Forward, Snapshot, Source, Update
from decoupled.schedules.events import ActivationArrived, Event, FenceArrived, GradientArrived, MarkerArrived
from decoupled.schedules.interface import Place
from decoupled.schedules.links import DownstreamLink, UpstreamLink


class Asynchronous:
    """One stage. At most so many of its microbatches are in flight as there are stages left, and `extra` more."""

    def __init__(self, place: Place, extra: int = 0) -> None:
        """With `extra` the pipeline stays full over links that are slow; each adds an update of staleness."""
        self._place = place
        self._in_flight_max = place.stages - place.stage + (0 if place.is_last else extra)
        self.upstream, self.downstream = UpstreamLink(), DownstreamLink(exists=not place.is_last)
        self._out: deque[int] = deque()  # forward but not back yet, oldest first
        self._returned: set[int] = set()  # those whose gradient is here
        self._update_is_due = False

    @property
    def held(self) -> set[int]:
        return set(self._out)

    @property
    def finished(self) -> bool:
        return self.upstream.exhausted and not self._out and not self._update_is_due and self.downstream.knows_end

    def receive(self, event: Event) -> None:
        """Raises ValueError for a fence: every gradient comes back here, so no neighbour has reason to send one."""
        if isinstance(event, FenceArrived):
            raise ValueError("a fence came where every gradient is sent back")
        self.upstream.receive(event)
        self.downstream.receive(event)
        match event:
            case GradientArrived(microbatch=m) if m in self._out:
                self._returned.add(m)

    def next_action(self) -> Action | None:
        if self._update_is_due:
            self._update_is_due = False
            return Update()
        if self._out and self._out[0] in self._returned:
            return self._back()
        return self._next_of_inbox()

    def _back(self) -> Action:
        m = self._out.popleft()
        self._returned.remove(m)
        self._update_is_due = True
        return Backward(m, Source.TRUE, send=not self._place.is_first)

    def _next_of_inbox(self) -> Action | None:
        match self.upstream.head:
            case None:
                return self._end()
            case MarkerArrived(microbatch=m) if not self._out and self.downstream.is_there:
                self.upstream.take()
                return Snapshot(m)
            case ActivationArrived(microbatch=m, training=False) if not self._out and self.downstream.has_room:
                self._take()
                return Evaluate(m)
            case ActivationArrived(microbatch=m, training=True) if self._may_go_ahead:
                return self._forward(m)
        return None

    @property
    def _may_go_ahead(self) -> bool:
        return len(self._out) < self._in_flight_max and self.downstream.has_room

    def _forward(self, m: int) -> Action:
        self._take()
        self._out.append(m)
        if self._place.is_last:  # its gradient is the loss's, here as soon as the forward pass is done
            self._returned.add(m)
        return Forward(m)

    def _take(self) -> None:
        self.downstream.spend()
        self.upstream.take()

    def _end(self) -> Action | None:
        if self.upstream.exhausted and not self.downstream.knows_end and self.downstream.is_there:
            self.downstream.tell_end()
            return EndFeed()
        return None
