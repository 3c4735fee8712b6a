"""Recovery: what follows when a worker is lost, silent or late, or a link breaks. Pure: it decides, and `now` comes in.

Under dni another worker goes on from its stage's last checkpoint, beside neighbours that never stop. The other schedules
roll back: all stages go back to the last checkpoint together, in a new attempt.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import TypeAlias

from decoupled.runtime.membership import Membership
from decoupled.runtime.supervision import JOIN_S, Policy, Supervision

READY_S = 120.0  # for workers to build their stages and link to the next
SLEPT_S = 1.0  # between two looks, which should be a few milliseconds
LINK_S = 30.0  # for a broken link to be made anew, before it is said that it is not
FEED = -1  # the stage from which the feed's link goes to the first
BROKEN_S = 1.0  # for the end of a worker to become known, which would explain a broken link


@dataclass(frozen=True, slots=True)
class AssignAll:
    """Every stage has a worker for the first time."""


@dataclass(frozen=True, slots=True)
class Rejoin:
    """The stage's worker goes on from the last checkpoint, beside neighbours that never stopped."""

    stage: int


@dataclass(frozen=True, slots=True)
class RollBack:
    """All stages go back to the last checkpoint."""


@dataclass(frozen=True, slots=True)
class RenewSnapshot:
    """The snapshot under way will never be whole; another one is to be made."""


@dataclass(frozen=True, slots=True)
class StopWorker:
    """The stage's worker, which may still be there, is replaced."""

    stage: int
    why: str


@dataclass(frozen=True, slots=True)
class StartAnother:
    """The worker that was started for the stage is not waited for any more."""

    stage: int
    why: str


@dataclass(frozen=True, slots=True)
class Note:
    """Whoever watches the run is to know; None stands for the whole run."""

    stage: int | None
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class EndRun:
    """The run cannot go on."""

    why: str


Decision: TypeAlias = AssignAll | Rejoin | RollBack | RenewSnapshot | StopWorker | StartAnother | Note | EndRun


class Recovery:
    """Decides for one run; whoever asks carries out the decisions in order."""

    def __init__(self, members: Membership, policy: Policy, rolls_back: bool, starts_workers: bool, now: float) -> None:
        """With `starts_workers` whoever asks starts workers, so that one that does not join can be replaced as well."""
        self._members, self._rolls_back, self._starts_workers = members, rolls_back, starts_workers
        self._policy, self.supervision = policy, Supervision(len(members.workers), policy)
        self._watched_at = now
        self._has_begun = False  # every stage was assigned, at least once
        self._assigned_at: dict[int, float] = {}  # stages that have not been ready yet
        self._down_at: dict[int, float] = {}  # since when a stage's link to the next is down, unless that was said
        self._broken_at: float | None = None  # when a link broke that only a new attempt can make up for

    def joined(self, stage: int) -> list[Decision]:
        """A worker was given the stage."""
        self.supervision.joined(stage)
        if self._has_begun and not self._rolls_back:
            return [Rejoin(stage)]
        if not self._members.is_complete:
            return []
        has_begun, self._has_begun = self._has_begun, True
        return [RollBack()] if has_begun else [AssignAll()]

    def attempt_begins(self) -> None:
        """What broke before does not matter any more."""
        self._broken_at = None
        self._down_at.clear()

    def assigned(self, stage: int, now: float) -> None:
        """A worker was told to become the stage; the stage before it is to link to it."""
        self._assigned_at[stage] = self._down_at[stage - 1] = now

    def ready(self, stage: int, now: float) -> None:
        """A worker has become its stage and is linked to the next one."""
        self._assigned_at.pop(stage, None)
        self.link_stands(stage)
        self.supervision.heard(stage, now)

    def heard(self, stage: int, longest_s: float, now: float) -> list[Decision]:
        """A worker has reported; its longest computation since the last time took so long."""
        self.supervision.computes(stage, longest_s)
        return [Note(stage, "back", "it reports again")] if self.supervision.heard(stage, now) else []

    def link_stands(self, stage: int) -> None:
        """A stage, or the feed, is linked to the next stage."""
        self._down_at.pop(stage, None)

    def link_broke(self, stage: int, now: float) -> list[Decision]:
        """What was under way on a link is lost: under dni that may be a marker; otherwise a new attempt has to follow."""
        self._down_at[stage] = now
        if not self._rolls_back:
            return [RenewSnapshot()]
        if self._broken_at is None:
            self._broken_at = now
        return []

    def lost(self, stage: int, why: str, now: float) -> list[Decision]:
        """The stage has no worker any more, and none is being started."""
        self._assigned_at.pop(stage, None)
        if self.supervision.lost(stage, now):
            return [Note(stage, "lost", why)]
        allowed = f"once more than supervision.restarts_max ({self._policy.restarts_max}) allows"
        return [EndRun(f"The worker of stage {stage} was lost {allowed}, so the run was stopped: {why}.")]

    def watch(self, now: float, finished: Container[int]) -> list[Decision]:
        """What the passing of time has brought; nobody minds that a stage is silent that has finished."""
        self._allow_for_sleep(now)
        supervision = self.supervision
        silent, stalled = (f"no report for {limit:.2g} s" for limit in (supervision.silent_s, supervision.stall_s))
        decisions: list[Decision] = [
            *(Note(stage, "silent", silent) for stage in supervision.take_silent(now) if stage not in finished),
            *(StopWorker(stage, stalled) for stage in supervision.stalled(now)),
            *self._not_ready(now),
            *self._still_down(now),
            *(self._not_joined(stage) for stage in supervision.take_unjoined(now)),
        ]
        is_broken = self._broken_at is not None and now - self._broken_at > BROKEN_S
        if is_broken and not decisions and self._members.is_complete:
            self._broken_at = None
            return [RollBack()]
        return decisions

    def _allow_for_sleep(self, now: float) -> None:
        """This process may have been stopped, or its host suspended: nobody listened."""
        slept_s, self._watched_at = now - self._watched_at, now
        if slept_s > SLEPT_S:
            self.supervision.slept(slept_s)
            self._assigned_at = {stage: at + slept_s for stage, at in self._assigned_at.items()}
            self._down_at = {stage: at + slept_s for stage, at in self._down_at.items()}

    def _not_ready(self, now: float) -> list[Decision]:
        """Workers that take too long to become their stage; there is no hurry while the next stage is not there."""
        for stage in self._assigned_at:
            if stage + 1 in self._assigned_at or self._members.address(stage + 1) == "":
                self._assigned_at[stage] = now
        late = [stage for stage, at in self._assigned_at.items() if now - at > READY_S]
        return [StopWorker(stage, f"it was not ready after {READY_S:g} s{self._hint(stage)}") for stage in late]

    def _still_down(self, now: float) -> list[Decision]:
        """Links that stay down, each once; while a worker is awaited or becomes its stage, none is late."""
        if self._assigned_at or not self._members.is_complete:
            self._down_at = dict.fromkeys(self._down_at, now)
        late = [stage for stage, at in self._down_at.items() if now - at > LINK_S]
        for stage in late:
            del self._down_at[stage]
        names = {stage: "the coordinator" if stage == FEED else f"stage {stage}" for stage in late}
        said = "the link from {} to stage {} has been down for {:g} s"
        return [Note(None, "link down", said.format(name, stage + 1, LINK_S)) for stage, name in names.items()]

    def _hint(self, stage: int) -> str:
        below = self._members.address(stage + 1)
        return f"; can it reach stage {stage + 1} at {below}?" if below else ""

    def _not_joined(self, stage: int) -> Decision:
        if self._starts_workers:
            return StartAnother(stage, f"the worker that was started for it has not joined after {JOIN_S:g} s")
        return Note(stage, "still waiting", f"no worker has joined for it in {JOIN_S:g} s")
