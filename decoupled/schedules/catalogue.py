"""The schedules by name. Each is made for a place, with options of its own."""

from dataclasses import asdict, dataclass

from decoupled.registry import Registry
from decoupled.schedules.dni import Dni, Feedback, Overflow
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.synchronous import Synchronous

NAMES = ("dni", "lockstep", "gpipe", "1f1b")
SYNCHRONOUS = ("lockstep", "gpipe", "1f1b", "single")


def lockstep(place: Place) -> Schedule:
    """One microbatch at a time."""
    return Synchronous(place, ahead_max=1, forwards_first=False)


def gpipe(place: Place) -> Schedule:
    """Every forward pass of a minibatch, then every backward pass."""
    return Synchronous(place, ahead_max=None, forwards_first=True)


def one_forward_one_backward(place: Place) -> Schedule:
    """As many microbatches ahead as there are stages left."""
    return Synchronous(place, ahead_max=place.stages - place.stage, forwards_first=False)


SCHEDULES = Registry(  # single is lockstep with one stage
    "schedule", {"dni": Dni, "lockstep": lockstep, "gpipe": gpipe, "1f1b": one_forward_one_backward, "single": lockstep}
)


def is_decoupled(name: str) -> bool:
    """Stages go on without gradients, from heads: so it is with dni, and with a user's schedule that says so."""
    return name == "dni" or (name not in SYNCHRONOUS and getattr(SCHEDULES[name], "is_decoupled", False) is True)


@dataclass(frozen=True, slots=True)
class Settings:
    """What dni leaves open."""

    feedback_every: int = 1
    stash_max: int = 8
    feedback: Feedback = "bootstrapped"
    overflow: Overflow = "block"


def make(name: str, place: Place, settings: Settings) -> Schedule:
    """The schedule of that name for one stage. Raises UsageError for no such name."""
    made: Schedule = SCHEDULES.make(name, place, options=asdict(settings) if name == "dni" else {})
    return made
