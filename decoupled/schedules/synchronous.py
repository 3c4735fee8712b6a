"""The synchronous schedules: backprop over the pipeline, with the weights still until a whole minibatch has come back.

A minibatch is one or more microbatches; its gradients add up and make one update, the flush. What a stage may do
meanwhile tells the schedules apart:
- lockstep: one microbatch at a time, so one stage works at a time. Forward, update and backward locking all hold
  (arXiv 1608.05343, section 1).
- gpipe: every forward pass of the minibatch, then every backward pass (Huang et al. 2019, arXiv 1811.06965, section 2.3).
- 1f1b: at most as many microbatches ahead as there are stages left, then one forward for one backward pass (PipeDream
  with a flush; Narayanan et al. 2021, arXiv 2006.09503, section 2.2). The same bubble as gpipe, with a smaller stash.
"""

from collections import deque

from decoupled.schedules.actions import Action, Backward, EndFeed, Evaluate, Forward, Snapshot, Source, Update
from decoupled.schedules.events import ActivationArrived, Event, FenceArrived, GradientArrived, MarkerArrived
from decoupled.schedules.interface import Place
from decoupled.schedules.links import DownstreamLink, UpstreamLink


class Synchronous:
    """One stage under any of the three; the last microbatch of a minibatch says so when it arrives."""

    def __init__(self, place: Place, ahead_max: int | None, forwards_first: bool) -> None:
        """`ahead_max` is how many microbatches may be out at once; None for all of a minibatch."""
        self._place, self._ahead_max, self._forwards_first = place, ahead_max, forwards_first
        self.upstream, self.downstream = UpstreamLink(), DownstreamLink(exists=not place.is_last)
        self._out: deque[int] = deque()  # forward but not back yet, oldest first
        self._returned: set[int] = set()  # those whose gradient is here
        self._is_flushing = False  # the whole minibatch has gone forward
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
        if self._out and self._out[0] in self._returned and (self._is_flushing or not self._forwards_first):
            return self._back()
        return self._ahead()

    def _back(self) -> Action:
        m = self._out.popleft()
        self._returned.remove(m)
        if self._is_flushing and not self._out:
            self._is_flushing, self._update_is_due = False, True
        return Backward(m, Source.TRUE, send=not self._place.is_first)

    def _ahead(self) -> Action | None:
        waiting = self.upstream.head
        if waiting is None:
            return self._end()
        if isinstance(waiting, MarkerArrived):
            return self._snapshot(waiting.microbatch)
        assert isinstance(waiting, ActivationArrived), "fences are refused when they arrive"
        is_far = self._ahead_max is not None and len(self._out) >= self._ahead_max
        if is_far or self._is_flushing or not self.downstream.has_room:
            return None
        self.downstream.spend()
        self.upstream.take()
        if not waiting.training:
            return Evaluate(waiting.microbatch)
        self._out.append(waiting.microbatch)
        self._is_flushing = waiting.ends_minibatch
        if self._place.is_last:  # its gradient is the loss's, here as soon as the forward pass is done
            self._returned.add(waiting.microbatch)
        return Forward(waiting.microbatch)

    def _snapshot(self, m: int) -> Action | None:
        """A marker comes between minibatches, and waits until the one before it has made its update."""
        if self._out or not self.downstream.is_there:
            return None
        self.upstream.take()
        return Snapshot(m)

    def _end(self) -> Action | None:
        if self.upstream.exhausted and not self.downstream.knows_end and self.downstream.is_there:
            self.downstream.tell_end()
            return EndFeed()
        return None
