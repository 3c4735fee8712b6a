"""Supervision: when a worker counts as silent or stalled, and whether and when a lost one is replaced. Pure: `now` comes in."""

from collections import deque
from dataclasses import dataclass

from decoupled.runtime.resolve import ResolvedRun

SILENT_S = 1.5  # without a report, of which several should have come
BUDGET_PERIOD_S = 600.0  # so long a restart counts
BACKOFF_MAX_S = 30.0  # unless the first is longer
DOUBLED_MAX = 1000  # or numbers would overflow
JOIN_S = 60.0  # for a worker that was started to join
REMEMBERED = 5  # reports, for how long a stage's computations take


@dataclass(frozen=True, slots=True)
class Policy:
    """What a worker may cost and how long it may be silent."""

    restarts_max: int  # of a stage, within BUDGET_PERIOD_S
    backoff_s: float  # before the first restart; doubles with each further one
    silent_s: float  # without a report: flagged
    stall_s: float  # without a report: replaced
    computation_s: float = 0.0  # what one takes, as far as it is known before the first


def policy_of(resolved: ResolvedRun) -> Policy:
    """That of a run: the limits leave room for reports, and for computations that are known to be long."""
    run, options = resolved.run, resolved.run.supervision
    silent_s = max(SILENT_S, 4 * run.runtime.report_every_s)
    layers_max = max(map(len, resolved.stages))
    known_s = (run.emulation.device_ms or 0.0) / 1000 * layers_max * run.emulation.straggler_factor
    return Policy(options.restarts_max, options.backoff_s, silent_s, max(options.stall_timeout_s, silent_s), known_s)


class _Watch:
    """What is known about the worker of one stage."""

    def __init__(self) -> None:
        self.heard_at: float | None = None  # None: there is none to hear from yet
        self.is_flagged = False
        self.start_at: float | None = None  # when a new worker is to be started
        self.started_at: float | None = None  # when one was that has not joined yet
        self.is_late = False  # that one, and it was said
        self.lost_at: deque[float] = deque()
        self.longest_s: deque[float] = deque(maxlen=REMEMBERED)  # computation in each of the last reports

    @property
    def computation_s(self) -> float:
        """How long computations take: the second longest, because a process that was stopped in one makes that look long."""
        return sorted(self.longest_s)[-2] if len(self.longest_s) > 1 else 0.0


class Supervision:
    """Watches one worker for each stage."""

    def __init__(self, stages: int, policy: Policy) -> None:
        self._policy = policy
        self._watches = [_Watch() for _ in range(stages)]

    def computes(self, stage: int, longest_s: float) -> None:
        """What a worker's report says of its computations, during which it does not report: the limits grow with them."""
        if longest_s:  # of a worker that waits there is nothing to learn
            self._watches[stage].longest_s.append(longest_s)

    @property
    def silent_s(self) -> float:
        return max(self._policy.silent_s, 3 * self._computation_s)

    @property
    def stall_s(self) -> float:
        return max(self._policy.stall_s, 10 * self._computation_s)

    @property
    def _computation_s(self) -> float:
        return max(self._policy.computation_s, *(watch.computation_s for watch in self._watches))

    def heard(self, stage: int, now: float) -> bool:
        """The worker is ready, or has reported; says whether it had been flagged."""
        watch = self._watches[stage]
        was_flagged, watch.heard_at, watch.is_flagged = watch.is_flagged, now, False
        return was_flagged

    def slept(self, seconds: float) -> None:
        """Nobody listened for so long, so nobody can be blamed for it."""
        for watch in self._watches:
            watch.heard_at = None if watch.heard_at is None else watch.heard_at + seconds
            watch.started_at = None if watch.started_at is None else watch.started_at + seconds

    def expected(self) -> list[int]:
        """The stages for which workers have been started that have not joined yet."""
        return [i for i, watch in enumerate(self._watches) if watch.started_at is not None]

    def joined(self, stage: int) -> None:
        """The stage has a worker, whoever started it."""
        self._watches[stage].start_at = self._watches[stage].started_at = None

    def lost(self, stage: int, now: float) -> bool:
        """The worker has gone; says whether the stage may have another one."""
        watch = self._watches[stage]
        watch.heard_at, watch.is_flagged, watch.started_at = None, False, None
        while watch.lost_at and watch.lost_at[0] < now - BUDGET_PERIOD_S:
            watch.lost_at.popleft()
        doubled_s = self._policy.backoff_s * 2.0 ** min(len(watch.lost_at), DOUBLED_MAX)
        watch.lost_at.append(now)
        watch.start_at = now + min(doubled_s, max(BACKOFF_MAX_S, self._policy.backoff_s))
        return len(watch.lost_at) <= self._policy.restarts_max

    def take_due(self, now: float) -> list[int]:
        """The stages for which a new worker is to be started now, each once."""
        due = [i for i, watch in enumerate(self._watches) if watch.start_at is not None and watch.start_at <= now]
        for stage in due:
            watch = self._watches[stage]
            watch.start_at, watch.started_at, watch.is_late = None, now, False
        return due

    def take_unjoined(self, now: float) -> list[int]:
        """The stages for which a worker was started that takes too long to join, each once."""
        late = [i for i, watch in enumerate(self._watches) if watch.started_at is not None and now - watch.started_at > JOIN_S]
        found = [i for i in late if not self._watches[i].is_late]
        for stage in found:
            self._watches[stage].is_late = True
        return found

    def take_silent(self, now: float) -> list[int]:
        """The stages whose worker has been silent for too long to be well, each once."""
        found = [i for i in self._overdue(now, self.silent_s) if not self._watches[i].is_flagged]
        for stage in found:
            self._watches[stage].is_flagged = True
        return found

    def stalled(self, now: float) -> list[int]:
        """The stages whose worker has been silent for so long that it is to be replaced."""
        return self._overdue(now, self.stall_s)

    def _overdue(self, now: float, limit_s: float) -> list[int]:
        return [i for i, watch in enumerate(self._watches) if watch.heard_at is not None and now - watch.heard_at > limit_s]
