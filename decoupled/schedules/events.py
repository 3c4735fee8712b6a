"""Events: what has happened to a stage, in the past tense."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Side(Enum):
    """Where a neighbour sits in the pipeline."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True, slots=True)
class ActivationArrived:
    """The upstream stage's output for a microbatch is in the inbox, to train on or only to evaluate."""

    microbatch: int
    training: bool = True
    ends_minibatch: bool = True  # the next one is of another minibatch; synchronous schedules update in between


@dataclass(frozen=True, slots=True)
class GradientArrived:
    """The downstream stage's gradient for a microbatch is here."""

    microbatch: int


@dataclass(frozen=True, slots=True)
class CreditGranted:
    """The downstream inbox has room for `count` more."""

    count: int


@dataclass(frozen=True, slots=True)
class FeedEnded:
    """No activation will come after microbatch `last` (-1: none at all); earlier ones may still be on their way."""

    last: int


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A neighbour is there; a downstream one has an inbox of `window` microbatches, all free."""

    side: Side
    window: int = 0


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A neighbour has gone, or has finished: nothing more comes from it."""

    side: Side


@dataclass(frozen=True, slots=True)
class Expired:
    """The patience with a microbatch's gradient ran out."""

    microbatch: int


Event: TypeAlias = ActivationArrived | GradientArrived | CreditGranted | FeedEnded | PeerJoined | PeerLost | Expired
