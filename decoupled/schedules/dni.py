"""dni: forward, update at once from the head, and refine the head whenever the gradient comes (arXiv 1608.05343).

Nothing here waits for a gradient. Two limits bound the memory: credit (room in the downstream inbox) and `stash_max`
(microbatches of one's own whose gradient is still out). Refining goes first: otherwise a busy stage would never refine,
and its stash would only grow.

Every `feedback_every`-th microbatch has its gradient sent back. What that gradient is, is the kind of feedback:
- bootstrapped: a stage back-propagates its own synthetic gradient at once and sends that up (the paper's rule);
- chained: a stage keeps such a microbatch until the gradient from downstream is here, makes the update with it, and
  only then sends its own up. So the true gradient comes down the whole chain, late, and at no extra cost.

With adaptive feedback no rule says beforehand which microbatches these are. A stage keeps each one for its true gradient as long
as its stash has room, and says so with the activation; otherwise it updates at once from its head. So truth is used as far as
links and neighbours deliver it, and nothing waits. A stage that guesses sends the gradient that follows from its guess.

With corrected feedback a stage keeps the same ones and postpones nothing: it updates at once from its head, and when the true
gradient comes, the next update also takes in what the guess missed. So what is late is the guess's error alone.

What a stage does when the downstream inbox is full is its `overflow`: block, and wait for room; or go on, and keep its
outputs itself: as many as the inbox holds (drop-oldest) or the newest alone (latest). Whatever is pushed out is dropped.

While its downstream neighbour is lost, a stage goes on from its head. Under block it keeps as many outputs as the inbox
would hold, for the neighbour's successor, and then waits; otherwise it goes on for as long as it is fed, and skips
evaluations.

No clock decides that a gradient is lost. A link keeps order, so a gradient that was overtaken is lost; and where something
waits for the stash (a marker, an evaluation, a full stash, a fence from above) the stage sends a fence down, which is
answered behind every gradient that will ever come for what was sent before it.
"""

from collections import deque

from decoupled.schedules.actions import (
    Action,
    Answer,
    Backward,
    Drop,
    EndFeed,
    Evaluate,
    Evict,
    Fence,
    Forward,
    Refine,
    Send,
    Skip,
    Snapshot,
    Source,
    Update,
)
from decoupled.schedules.events import (
    ActivationArrived,
    Event,
    FenceArrived,
    GradientArrived,
    GradientsEnded,
    MarkerArrived,
    PeerFinished,
    PeerLost,
)
from decoupled.schedules.feedback import WHILE_ROOM, EveryNth, Feedback, Share, StashMax, WhileRoom
from decoupled.schedules.interface import Place
from decoupled.schedules.links import DownstreamLink, Overflow, UpstreamLink


class Dni:
    """The decoupled schedule of one stage."""

    def __init__(
        self,
        place: Place,
        feedback_every: int = 1,
        stash_max: StashMax = 8,
        feedback: Feedback = "bootstrapped",
        overflow: Overflow = "block",
        share: Share = 1.0,
    ) -> None:
        """`share` bounds how many of its microbatches a stage keeps for their gradient under adaptive and corrected feedback."""
        self._place, self._stash_max, self._overflow = place, stash_max, overflow
        self._postpones = feedback in ("chained", "adaptive")  # the updates of what it keeps
        self._corrects = feedback == "corrected"
        self._keeps_order = feedback not in WHILE_ROOM  # of the gradients that it sends up
        self._feedback = EveryNth(place, feedback_every) if self._keeps_order else WhileRoom(place, share)
        is_paced = overflow == "block"
        self.upstream, self.downstream = UpstreamLink(is_paced), DownstreamLink(exists=not place.is_last, is_paced=is_paced)
        self._due: deque[Action] = deque()  # decided, not yet performed
        self._stash: dict[int, bool] = {}  # microbatches whose gradient is still out, oldest first; whether theirs goes up
        self._hopeless: set[int] = set()  # those of the stash whose output was dropped
        self._fences: deque[tuple[int, int]] = deque()  # from above: each with the newest of the stash that it waits for

    @property
    def held(self) -> set[int]:
        return set(self._stash) | {
            action.microbatch for action in self._due if isinstance(action, Backward | Refine | Evict | Drop)
        }

    @property
    def finished(self) -> bool:
        is_idle = self.upstream.exhausted and not (self._due or self._stash or self._fences or self.downstream.unsent)
        return is_idle and self.downstream.knows_end

    def receive(self, event: Event) -> None:
        self.upstream.receive(event)
        if isinstance(event, ActivationArrived):
            return  # most are, and nothing else depends on them
        self.downstream.receive(event)
        match event:
            case GradientArrived(microbatch=m) if m in self._stash:
                if self._keeps_order:  # a link keeps order, and gradients come in it: what was overtaken is lost
                    self._give_up([k for k in self._stash if k < m])
                self._settle(m)
            case GradientsEnded(microbatch=m):
                self.downstream.answered(m)
                self._give_up([k for k in self._sent if k <= m])
            case PeerLost() | PeerFinished():
                self._give_up(self._sent)
        if self._hopeless:
            self._give_up_hopeless()
        if self._fences:
            self._answer_fences()

    def next_action(self) -> Action | None:
        if self._due:
            return self._due.popleft()
        if self.downstream.unsent and self.downstream.has_room:
            self.downstream.spend()
            m = self.downstream.unsent.popleft()
            return Send(m, m in self._stash)
        # Nothing waits for a full stash here, and it would stay full of what was lost, so it is asked after while work goes on.
        if not self._keeps_order and len(self._stash) >= self._stash_max and (fence := self._ask()) is not None:
            return fence
        action = self._next_of_inbox()
        return action if action is not None else self._ask()

    def _next_of_inbox(self) -> Action | None:
        match self.upstream.head:
            case None:
                return self._end()
            case MarkerArrived(microbatch=m):
                return self._snapshot(m)
            case FenceArrived(microbatch=m):
                return self._take_fence(m)
            case ActivationArrived(microbatch=m, training=False):
                return self._evaluate(m)
            case ActivationArrived(microbatch=m, wants_gradient=is_wanted):
                return self._train(m, is_wanted)

    def _end(self) -> Action | None:
        """Nothing waits; if nothing more can come either, the downstream stage is to know, once."""
        is_all_sent = self.upstream.exhausted and not self.downstream.unsent
        if is_all_sent and not self.downstream.knows_end and self.downstream.is_there:
            self.downstream.tell_end()
            return EndFeed()
        return None

    @property
    def _awaits_updates(self) -> bool:
        """Updates of what came before are postponed, which a marker and an evaluation wait for."""
        return self._postpones and bool(self._stash)

    def _snapshot(self, m: int) -> Action | None:
        """A marker keeps its place among outputs that wait, and saves the postponed updates of what came before it."""
        if self.downstream.is_lost:  # the coordinator has been told, and gives the snapshot up
            self.upstream.take()
            return self.next_action()
        if self.downstream.unsent or self._awaits_updates or not self.downstream.is_there:
            return None
        self.upstream.take()
        return Snapshot(m)

    def _evaluate(self, m: int) -> Action | None:
        """An evaluation is never dropped while the neighbour is there, and sees the updates of what came before it."""
        if self.downstream.is_lost and self._overflow != "block":
            self.upstream.take()
            return Skip(m)
        if not self.downstream.has_room or self._awaits_updates:
            return None
        self.downstream.spend()
        self.upstream.take()
        return Evaluate(m)

    def _train(self, m: int, is_wanted: bool) -> Action | None:
        if not self._make_room(m):
            return None
        if self._due:  # room was made by giving something up
            return self._due.popleft()
        self.upstream.take()
        self._feedback.hear(m, is_wanted)
        return self._start(m)

    def _make_room(self, m: int) -> bool:
        """Whether the stash and the downstream inbox have room for one more, or it could be made."""
        if self._is_stash_full(m) and self._keeps_order:
            if self._overflow == "block":
                return False
            self._give_up([next(iter(self._stash))])
        if self._overflow == "block":
            below = self.downstream
            return below.has_room or (below.is_lost and len(below.unsent) < below.window)
        return self.downstream.has_room or self.downstream.window > 0

    def _is_stash_full(self, m: int) -> bool:
        return self._feedback.concerns(m) and len(self._stash) >= self._stash_max

    def _start(self, m: int) -> Action:
        send = self.downstream.has_room
        if send:
            self.downstream.spend()
        has_room = len(self._stash) < self._stash_max and not self.downstream.is_lost
        is_kept, goes_up = self._feedback.keep(m, has_room), self._feedback.goes_up(m)
        if self._place.is_last:
            self._due += (Backward(m, Source.TRUE, goes_up), Update())
        elif not is_kept:
            self._due += (Backward(m, Source.SYNTHETIC, goes_up), Update())
        else:
            self._stash[m] = goes_up
            if not self._postpones:
                self._due += (Backward(m, Source.TENTATIVE if self._corrects else Source.SYNTHETIC, goes_up, keep=True), Update())
        if not send:
            self.downstream.unsent.append(m)
            if len(self.downstream.unsent) > (1 if self._overflow == "latest" else self.downstream.window):
                self._drop()
        return Forward(m, send, is_kept)

    def _drop(self) -> None:
        """The oldest output that waits will not be sent, so no gradient of it can come either."""
        m = self.downstream.unsent.popleft()
        self._due.append(Drop(m))
        if m in self._stash:
            self._hopeless.add(m)
            self._give_up_hopeless()

    # How the stash is settled.

    @property
    def _sent(self) -> list[int]:
        """The microbatches of the stash that are not waiting to be sent, oldest first."""
        return [m for m in self._stash if m not in self.downstream.unsent]

    def _settle(self, m: int) -> None:
        """The gradient of m is here."""
        goes_up = self._stash.pop(m)
        if self._corrects:
            self._due.append(Backward(m, Source.CORRECTION, goes_up, keep=True))
        elif self._postpones:
            self._due += (Backward(m, Source.TRUE, goes_up, keep=True), Update())
        self._due.append(Refine(m))

    def _give_up(self, microbatches: list[int]) -> None:
        """No gradient of these will come; where an update was waiting for it, the head's guess takes its place.

        Where a correction was, the stage above waits in vain for its own, and finds out by a fence.
        """
        for m in microbatches:
            goes_up = self._stash.pop(m)
            self._hopeless.discard(m)
            if self._postpones:
                self._due += (Backward(m, Source.SYNTHETIC, goes_up, keep=True), Update())
            self._due.append(Evict(m))

    def _give_up_hopeless(self) -> None:
        """Gives up what has no gradient to wait for, in its turn: what goes up must not overtake what is older."""
        while self._stash and (oldest := next(iter(self._stash))) in self._hopeless:
            self._give_up([oldest])

    # Fences.

    def _take_fence(self, m: int) -> Action | None:
        """A fence is answered behind the gradients of all that came before it; what comes after it need not wait."""
        self.upstream.take()
        still_go_up = self._postpones or self._corrects
        self._fences.append((m, max(self._stash, default=-1) if still_go_up else -1))
        self._answer_fences()
        return self.next_action()

    def _answer_fences(self) -> None:
        if self._fences and self.downstream.is_lost:  # nobody could tell, and whoever asks has waited enough
            self._give_up(list(self._stash))
        while self._fences and next(iter(self._stash), self._fences[0][1] + 1) > self._fences[0][1]:
            self._due.append(Answer(self._fences.popleft()[0]))

    def _ask(self) -> Action | None:
        """Sends a fence when something waits for gradients that may be lost, and it is not asked already."""
        if not self._stash or next(reversed(self._stash)) <= self.downstream.asked or not self.downstream.is_there:
            return None
        sent = self._sent
        if not sent or sent[-1] <= self.downstream.asked:
            return None
        match self.upstream.head:
            case MarkerArrived() | ActivationArrived(training=False):
                is_needed = self._postpones
            case ActivationArrived(microbatch=m):
                is_needed = self.downstream.asked < 0 and self._is_stash_full(m)
            case _:
                is_needed = False
        if not is_needed and not self._fences:
            return None
        self.downstream.asked = sent[-1]
        return Fence(sent[-1])
