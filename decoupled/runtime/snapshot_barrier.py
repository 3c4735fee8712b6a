"""The snapshot barrier: when a snapshot begins, and when it is whole. Pure: numbers and `now` come in.

A marker rides in the stream of activations, so every stage saves its state at the same cut, and none is stopped for it
(Chandy and Lamport 1985, ACM TOCS 3(1), with the activations as the only channel: gradients under way may be lost).
"""


class SnapshotBarrier:
    """One snapshot at a time over all stages."""

    def __init__(self, stages: int, every: int | None, every_s: float) -> None:
        """One every so many microbatches, or seconds; None and 0 for never."""
        self._stages, self._every, self._every_s = stages, every, every_s
        self._marked_at, self._marked = 0.0, -1  # when the last began, and after which microbatch
        self._missing: set[int] = set()
        self._is_wanted = False

    def begin_at(self, now: float, microbatch: int = -1) -> None:
        """Training begins, after that microbatch."""
        self._marked_at, self._marked = now, microbatch

    def want(self) -> None:
        """One is to be made as soon as it can."""
        self._is_wanted = True

    def is_due(self, microbatch: int, now: float) -> bool:
        """Whether a marker is to follow that microbatch."""
        if self._missing:
            return False
        is_far = self._every is not None and microbatch - self._marked >= self._every
        is_old = self._every is None and 0 < self._every_s <= now - self._marked_at
        return self._is_wanted or is_far or is_old

    def begin(self, microbatch: int, now: float) -> None:
        """The marker was sent."""
        self._marked, self._marked_at, self._is_wanted = microbatch, now, False
        self._missing = set(range(self._stages))

    def add(self, stage: int, microbatch: int) -> bool:
        """A stage's part is here; says whether it was the last. Parts of one that was given up change nothing."""
        if not self.waits_for(stage, microbatch):
            return False
        self._missing.remove(stage)
        return not self._missing

    def waits_for(self, stage: int, microbatch: int) -> bool:
        """Whether that stage's part of the snapshot after that microbatch is still to come."""
        return microbatch == self._marked and stage in self._missing

    def give_up(self) -> None:
        """The marker was lost with a worker."""
        self._missing.clear()
