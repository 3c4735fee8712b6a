"""The coordinator's feed as a schedule: microbatches in order, and markers between minibatches where one is due."""

from decoupled.schedules.actions import Action, EndFeed, Forward, Snapshot
from decoupled.schedules.events import Event
from decoupled.schedules.links import DownstreamLink, UpstreamLink


class Feed:
    """It goes on from a position, up to so many microbatches; None: without end."""

    def __init__(self, position: int, microbatches: int | None, minibatch: int) -> None:
        self.upstream, self.downstream = UpstreamLink(), DownstreamLink()
        self.position, self._microbatches, self._minibatch = position, microbatches, minibatch
        self.marker_is_due = False

    @property
    def held(self) -> set[int]:
        return set()

    @property
    def finished(self) -> bool:
        return self._is_exhausted and self.downstream.knows_end

    @property
    def _is_exhausted(self) -> bool:
        return self.position == self._microbatches

    def ends_minibatch(self, microbatch: int) -> bool:
        return (microbatch + 1) % self._minibatch == 0 or microbatch + 1 == self._microbatches

    def receive(self, event: Event) -> None:
        self.downstream.receive(event)

    def next_action(self) -> Action | None:
        if not self.downstream.is_there or self.downstream.knows_end:
            return None
        if self._is_exhausted:
            self.downstream.tell_end()
            return EndFeed()
        if self.marker_is_due and self.position % self._minibatch == 0:
            self.marker_is_due = False
            return Snapshot(self.position - 1)
        if not self.downstream.has_room:
            return None
        self.downstream.spend()
        self.position += 1
        return Forward(self.position - 1)
