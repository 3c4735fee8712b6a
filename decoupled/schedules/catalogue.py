"""The schedules by name."""

from decoupled.schedules.dni import Dni, Feedback
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.lockstep import Lockstep

NAMES = ("dni", "lockstep")


def make(name: str, place: Place, feedback_every: int, stash_max: int, feedback: Feedback) -> Schedule:
    """The schedule of that name for one stage; the last three settings are dni's. Raises ValueError for no such name."""
    match name:
        case "dni":
            return Dni(place, feedback_every, stash_max, feedback)
        case "lockstep":
            return Lockstep(place)
        case _:
            raise ValueError(f"there is no schedule {name!r}; choose {' or '.join(NAMES)}")
