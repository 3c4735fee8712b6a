"""Events: what has happened to a stage, in the past tense."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ActivationArrived:
    """The upstream stage's output for a microbatch is in the inbox, to train on or only to evaluate."""

    microbatch: int
    training: bool = True
    ends_minibatch: bool = True  # the next one is of another minibatch; synchronous schedules update in between
    wants_gradient: bool = False  # the upstream stage keeps it for its gradient; schedules with a fixed rule know without


@dataclass(frozen=True, slots=True)
class GradientArrived:
    """The downstream stage's gradient for a microbatch is here."""

    microbatch: int


@dataclass(frozen=True, slots=True)
class CreditGranted:
    """The downstream inbox has room for `count` more; `waiting` were in it when they were taken."""

    count: int
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class MarkerArrived:
    """A marker is in the inbox, after microbatch `microbatch`: here the stage's state is to be saved."""

    microbatch: int


@dataclass(frozen=True, slots=True)
class FeedEnded:
    """Everything that the upstream stage had to send has come."""


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """The downstream neighbour is there, for the first time or again; its inbox has room for `window` microbatches."""

    window: int
    room: int | None = None  # how many of them fit now; None: all


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The link to the downstream neighbour broke: what was under way is lost, and nothing comes until it joins again."""


@dataclass(frozen=True, slots=True)
class PeerFinished:
    """The downstream neighbour has finished: no gradient will come any more."""


@dataclass(frozen=True, slots=True)
class FenceArrived:
    """The upstream stage asks to be told when every gradient up to microbatch `microbatch` has been sent back."""

    microbatch: int


@dataclass(frozen=True, slots=True)
class GradientsEnded:
    """No gradient up to microbatch `microbatch` will come any more: the fence was answered, or the peer is silent."""

    microbatch: int


Event: TypeAlias = (
    ActivationArrived
    | MarkerArrived
    | FenceArrived
    | FeedEnded
    | GradientArrived
    | CreditGranted
    | PeerJoined
    | PeerLost
    | PeerFinished
    | GradientsEnded
)
