"""The schedules of backprop over the pipeline: every gradient is a true one, and comes back.

A minibatch is one or more microbatches; its gradients add up and make one update. What a stage may do meanwhile tells the
schedules apart. Three flush: the weights stand still until a whole minibatch has come back.
- lockstep: one microbatch at a time, so one stage works at a time. Forward, update and backward locking all hold
  (arXiv 1608.05343, section 1).
- gpipe: every forward pass of the minibatch, then every backward pass (Huang et al. 2019, arXiv 1811.06965, section 2.3).
- 1f1b: at most as many microbatches ahead as there are stages left, then one forward for one backward pass (PipeDream
  with a flush; Narayanan et al. 2021, arXiv 2006.09503, section 2.2). The same bubble as gpipe, with a smaller stash.

One does not, so it has no bubble:
- async1f1b: as far ahead, and each gradient makes an update at once (PipeDream; Narayanan et al. 2019, section 3.2). A pass goes
  back with the weights that it went forward with, which are as many updates old as were in flight behind it.
"""

from collections import deque

from decoupled.schedules.actions import Action, Backward, EndFeed, Evaluate, Forward, Snapshot, Source, Update
from decoupled.schedules.events import ActivationArrived, Event, FenceArrived, GradientArrived, MarkerArrived
from decoupled.schedules.interface import Place
from decoupled.schedules.links import DownstreamLink, UpstreamLink


class Backprop:
    """One stage under any of them; the last microbatch of a minibatch says so when it arrives."""

    def __init__(self, place: Place, ahead_max: int | None, forwards_first: bool = False, flushes: bool = True) -> None:
        """`ahead_max` is how many microbatches may be out at once; None for all of a minibatch."""
        self._place, self._ahead_max, self._forwards_first, self._flushes = place, ahead_max, forwards_first, flushes
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
        if not self._flushes or (self._is_flushing and not self._out):
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
        must_wait = is_far if waiting.training else bool(self._out)  # an evaluation sees the updates of all before it
        if must_wait or self._is_flushing or not self.downstream.has_room:
            return None
        self.downstream.spend()
        self.upstream.take()
        if not waiting.training:
            return Evaluate(waiting.microbatch)
        self._out.append(waiting.microbatch)
        self._is_flushing = self._flushes and waiting.ends_minibatch
        if self._place.is_last:  # its gradient is the loss's, here as soon as the forward pass is done
            self._returned.add(waiting.microbatch)
        return Forward(waiting.microbatch)

    def _snapshot(self, m: int) -> Action | None:
        """A marker comes between minibatches, and waits until all before it have made their updates."""
        if self._out or not self.downstream.is_there:
            return None
        self.upstream.take()
        return Snapshot(m)

    def _end(self) -> Action | None:
        if self.upstream.exhausted and not self.downstream.knows_end and self.downstream.is_there:
            self.downstream.tell_end()
            return EndFeed()
        return None
