"""Feedback: for which microbatches a stage keeps its pass until the true gradient comes, and for which one goes up."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from decoupled.schedules.interface import Place

Feedback: TypeAlias = Literal["chained", "bootstrapped", "adaptive", "corrected"]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
StashMax: TypeAlias = Annotated[int, Field(ge=1, le=4096)]

WHILE_ROOM = ("adaptive", "corrected")  # the kinds of feedback that keep microbatches while there is room for them
ROUNDING = 1e-9
NEVER = 0  # in place of every n-th: no gradient is sent back at all


class EveryNth:
    """The rule of chained and bootstrapped feedback: both ends of a link know it, so nobody has to ask."""

    def __init__(self, place: Place, every: int) -> None:
        self._place, self._every = place, every

    def hear(self, m: int, is_wanted: bool) -> None:
        """Whether the upstream stage keeps m for its gradient."""

    def concerns(self, m: int) -> bool:
        """Whether m may be kept."""
        return not self._place.is_last and self._has_feedback(m)

    def keep(self, m: int, has_room: bool) -> bool:
        """Whether m is kept. The schedule has made room before it asks."""
        return self.concerns(m)

    def goes_up(self, m: int) -> bool:
        """Whether a gradient of m goes to the upstream stage; it is asked once."""
        return not self._place.is_first and self._has_feedback(m)

    def _has_feedback(self, m: int) -> bool:
        return self._every != NEVER and m % self._every == 0


class WhileRoom:
    """The rule of WHILE_ROOM: every microbatch, while there is room and its share is not used up; both ends tell."""

    def __init__(self, place: Place, share: float) -> None:
        self._place, self._share = place, share
        self._allowance = 0.0  # how many more may be kept
        self._wanted: set[int] = set()  # by the upstream stage

    def hear(self, m: int, is_wanted: bool) -> None:
        if is_wanted and not self._place.is_first:
            self._wanted.add(m)

    def concerns(self, m: int) -> bool:
        return not self._place.is_last

    def keep(self, m: int, has_room: bool) -> bool:
        self._allowance = min(self._allowance + self._share, 1.0)
        if self._place.is_last or not has_room or self._allowance < 1 - ROUNDING:
            return False
        self._allowance -= 1.0
        return True

    def goes_up(self, m: int) -> bool:
        is_wanted = m in self._wanted
        self._wanted.discard(m)
        return is_wanted
