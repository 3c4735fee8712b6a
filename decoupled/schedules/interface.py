"""The interface of every schedule, and where in the pipeline one stands."""

from dataclasses import dataclass
from typing import Protocol

from decoupled.schedules.actions import Action
from decoupled.schedules.events import Event
from decoupled.schedules.links import DownstreamLink, UpstreamLink


@dataclass(frozen=True, slots=True)
class Place:
    """Stage `stage` of `stages`, counted from 0 at the input."""

    stage: int
    stages: int

    @property
    def is_first(self) -> bool:
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        return self.stage == self.stages - 1


class Schedule(Protocol):
    """Decides what one stage does next. Sees microbatch numbers; never arrays, sockets or clocks."""

    @property
    def upstream(self) -> UpstreamLink: ...
    @property
    def downstream(self) -> DownstreamLink: ...

    @property
    def held(self) -> set[int]:
        """The microbatches that have gone forward and are still to be acted on."""

    @property
    def finished(self) -> bool:
        """Nothing is left to do, and nothing that could come would change that."""

    def receive(self, event: Event) -> None:
        """Takes note of what has happened. Duplicates and events about unknown microbatches change nothing."""

    def next_action(self) -> Action | None:
        """What to do now; None is to wait for an event. The caller performs it before it asks again."""
