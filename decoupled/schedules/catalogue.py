"""The schedules by name. Each is made for a place, with options of its own."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from decoupled.registry import Registry
from decoupled.schedules.backprop import Backprop
from decoupled.schedules.dni import Dni
from decoupled.schedules.feedback import NEVER, Feedback, StashMax
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.links import Overflow

NAMES = ("dni", "local", "lockstep", "gpipe", "1f1b", "async1f1b", "2bw")
TAKES = {  # of the settings
    "dni": ("feedback_every", "stash_max", "feedback", "overflow", "share"),
    "local": ("stash_max", "overflow"),
    "async1f1b": ("extra",),
    "2bw": ("extra",),
}
EXACT = ("lockstep", "gpipe", "1f1b", "async1f1b", "2bw", "single")  # every gradient is a true one, and comes back
STALE = ("async1f1b", "2bw")  # of these the ones whose weights change while a microbatch is on its way

Extra: TypeAlias = Annotated[int, Field(ge=0, le=4096)]


def lockstep(place: Place) -> Schedule:
    """One microbatch at a time."""
    return Backprop(place, ahead_max=1)


def gpipe(place: Place) -> Schedule:
    """Every forward pass of a minibatch, then every backward pass."""
    return Backprop(place, ahead_max=None, forwards_first=True)


def one_forward_one_backward(place: Place) -> Schedule:
    """As many microbatches ahead as there are stages left."""
    return Backprop(place, ahead_max=place.stages - place.stage)


def async1f1b(place: Place, extra: Extra = 0) -> Schedule:
    """The same without a flush. `extra` more ahead keep the pipeline full over slow links; each adds an update of staleness."""
    ahead = _ahead(place, extra)
    return Backprop(place, ahead, minibatches_max=ahead)  # a minibatch is one microbatch


def two_versions(place: Place, extra: Extra = 0) -> Schedule:
    """The same with an update for a minibatch of several microbatches. `extra` more ahead add nothing to the staleness."""
    return Backprop(place, _ahead(place, extra), minibatches_max=2)


def _ahead(place: Place, extra: int) -> int:
    """As many as there are stages left, and more where gradients have a way to come."""
    return place.stages - place.stage + (0 if place.is_last else extra)


def local(place: Place, stash_max: StashMax = 8, overflow: Overflow = "block") -> Schedule:
    """dni without any feedback: each stage learns from its head alone (Belilovsky et al. 2020, arXiv 1901.08164)."""
    return Dni(place, NEVER, stash_max, "bootstrapped", overflow)


SCHEDULES = Registry(  # single is lockstep with one stage
    "schedule",
    {
        "dni": Dni,
        "local": local,
        "lockstep": lockstep,
        "gpipe": gpipe,
        "1f1b": one_forward_one_backward,
        "async1f1b": async1f1b,
        "2bw": two_versions,
        "single": lockstep,
    },
)


def is_decoupled(name: str) -> bool:
    """Stages go on without gradients, from heads: so it is with dni, and with a user's schedule that says so."""
    return name in ("dni", "local") or (name not in EXACT and getattr(SCHEDULES[name], "is_decoupled", False) is True)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the schedules leave open: dni, and how much `extra` async1f1b and 2bw have in flight."""

    feedback_every: int = 1
    stash_max: int = 8
    feedback: Feedback = "bootstrapped"
    overflow: Overflow = "block"
    share: float = 1.0
    extra: int = 0


def make(name: str, place: Place, settings: Settings) -> Schedule:
    """The schedule of that name for one stage. Raises UsageError for no such name."""
    made: Schedule = SCHEDULES.make(name, place, options=options_of(name, settings))
    return made


def options_of(name: str, settings: Settings) -> dict[str, Any]:
    """Those of the settings that the schedule takes."""
    values = asdict(settings)
    return {option: values[option] for option in TAKES.get(name, ())}
