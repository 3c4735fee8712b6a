"""The schedules of backprop over the pipeline: every gradient is a true one, and comes back.

A minibatch is one or more microbatches; its gradients add up and make one update. What a stage may do meanwhile tells the
schedules apart. Three flush: the weights stand still until a whole minibatch has come back.
- lockstep: one microbatch at a time, so one stage works at a time. Forward, update and backward locking all hold
  (arXiv 1608.05343, section 1).
- gpipe: every forward pass of the minibatch, then every backward pass (Huang et al. 2019, arXiv 1811.06965, section 2.3).
- 1f1b: at most as many microbatches ahead as there are stages left, then one forward for one backward pass (PipeDream
  with a flush; Narayanan et al. 2021, arXiv 2006.09503, section 2.2). The same bubble as gpipe, with a smaller stash.

Two do not, so they have no bubble. A pass goes forward with the newest weights that its stage has, and back with the same:
- async1f1b: as far ahead, and each gradient makes an update at once (PipeDream; Narayanan et al. 2019, section 3.2). The weights
  of a pass are as many updates old when it goes back as were in flight before it.
- 2bw: as far ahead, but microbatches of two minibatches at most are out, so a stage has at most two versions of its weights, and
  a gradient is at most one update old (PipeDream-2BW; arXiv 2006.09503, section 3.1, where the stages also wait for each other
  to take a new version up). It takes as many microbatches in a minibatch as there are stages, less one, to have no bubble.
"""

from collections import deque

from decoupled.schedules.actions import Action, Backward, EndFeed, Evaluate, Forward, Snapshot, Source, Update
from decoupled.schedules.events import ActivationArrived, Event, FenceArrived, GradientArrived, MarkerArrived
from decoupled.schedules.interface import Place
from decoupled.schedules.links import DownstreamLink, UpstreamLink


class Backprop:
    """One stage under any of them; the last microbatch of a minibatch says so when it arrives."""

    def __init__(self, place: Place, ahead_max: int | None, forwards_first: bool = False, minibatches_max: int = 1) -> None:
        """`ahead_max` is how many microbatches may be out at once; None for all of a minibatch.

        `minibatches_max` is of how many minibatches they may be; with one, the weights stand still while any is out.
        """
        self._place, self._ahead_max, self._forwards_first = place, ahead_max, forwards_first
        self._minibatches_max = minibatches_max
        self.upstream, self.downstream = UpstreamLink(), DownstreamLink(exists=not place.is_last)
        self._out: deque[int] = deque()  # forward but not back yet, oldest first
        self._returned: set[int] = set()  # those whose gradient is here
        self._ends: set[int] = set()  # those that are the last of their minibatch
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
        if self._out and self._out[0] in self._returned and (self._ends or not self._forwards_first):
            return self._back()
        return self._ahead()

    def _back(self) -> Action:
        m = self._out.popleft()
        self._returned.remove(m)
        if m in self._ends:
            self._ends.remove(m)
            self._update_is_due = True
        return Backward(m, Source.TRUE, send=not self._place.is_first)

    def _ahead(self) -> Action | None:
        waiting = self.upstream.head
        if waiting is None:
            return self._end()
        if isinstance(waiting, MarkerArrived):
            return self._snapshot(waiting.microbatch)
        assert isinstance(waiting, ActivationArrived), "fences are refused when they arrive"
        must_wait = self._is_far if waiting.training else bool(self._out)  # an evaluation sees the updates of all before it
        if must_wait or not self.downstream.has_room:
            return None
        self.downstream.spend()
        self.upstream.take()
        if not waiting.training:
            return Evaluate(waiting.microbatch)
        self._out.append(waiting.microbatch)
        if waiting.ends_minibatch:
            self._ends.add(waiting.microbatch)
        if self._place.is_last:  # its gradient is the loss's, here as soon as the forward pass is done
            self._returned.add(waiting.microbatch)
        return Forward(waiting.microbatch)

    @property
    def _is_far(self) -> bool:
        """As far ahead as it may be."""
        return len(self._out) == self._ahead_max or len(self._ends) == self._minibatches_max

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
