"""The schedules by name."""

from dataclasses import dataclass

from decoupled.schedules.dni import Dni, Feedback, Overflow
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.synchronous import Synchronous

NAMES = ("dni", "lockstep", "gpipe", "1f1b")


@dataclass(frozen=True, slots=True)
class Settings:
    """What dni leaves open."""

    feedback_every: int = 1
    stash_max: int = 8
    feedback: Feedback = "bootstrapped"
    overflow: Overflow = "block"


def make(name: str, place: Place, settings: Settings) -> Schedule:
    """The schedule of that name for one stage. Raises ValueError for no such name."""
    match name:
        case "dni":
            return Dni(place, settings.feedback_every, settings.stash_max, settings.feedback, settings.overflow)
        case "lockstep":
            return Synchronous(place, ahead_max=1, forwards_first=False)
        case "gpipe":
            return Synchronous(place, ahead_max=None, forwards_first=True)
        case "1f1b":
            return Synchronous(place, ahead_max=place.stages - place.stage, forwards_first=False)
        case _:
            raise ValueError(f"there is no schedule {name!r}; choose {' or '.join(NAMES)}")
