"""Actions: what a stage is to do, in the imperative; `str()` gives the short form used in transcripts and timelines."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Source(Enum):
    """Which gradient a backward pass starts from."""

    TRUE = "true"  # the loss's, or the one that came back from downstream
    SYNTHETIC = "synthetic"  # the head's
    TENTATIVE = "tentative"  # the head's, to be corrected; what is to go upstream is kept until then
    CORRECTION = "correction"  # by how much the one that came back differs from the head's; what goes upstream is the whole


LETTERS = {Source.TRUE: "B", Source.SYNTHETIC: "S", Source.TENTATIVE: "T", Source.CORRECTION: "C"}


@dataclass(frozen=True, slots=True)
class Forward:
    """Compute and stash the output; send it downstream, or keep it until `Send`; grant one credit upstream."""

    microbatch: int
    send: bool = True
    wants_gradient: bool = False  # it is sent with the wish to have its gradient back

    def __str__(self) -> str:
        return f"F{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Backward:
    """Compute the weights' gradients and, if `send`, the input's, which goes upstream; if `keep`, the stash stays."""

    microbatch: int
    source: Source
    send: bool
    keep: bool = False

    def __str__(self) -> str:
        return f"{LETTERS[self.source]}{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Update:
    """Make the optimiser's step with the gradients of the backward passes since the last one."""

    def __str__(self) -> str:
        return "U"


@dataclass(frozen=True, slots=True)
class Refine:
    """Fit the head to the gradient that arrived, and drop the stash."""

    microbatch: int

    def __str__(self) -> str:
        return f"R{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Compute the output in evaluation mode and pass it on; grant one credit upstream."""

    microbatch: int

    def __str__(self) -> str:
        return f"E{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Evict:
    """Give up waiting for a microbatch's gradient, and drop the stash."""

    microbatch: int

    def __str__(self) -> str:
        return f"X{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Send:
    """Send downstream the output that was kept."""

    microbatch: int
    wants_gradient: bool = False  # as in the microbatch's `Forward`

    def __str__(self) -> str:
        return f">{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Drop:
    """Throw away the output that was kept: newer ones have taken its room."""

    microbatch: int

    def __str__(self) -> str:
        return f"D{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Save the state, which is that after `microbatch` and before all that follows; pass the marker on."""

    microbatch: int

    def __str__(self) -> str:
        return f"M{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Skip:
    """Throw away an evaluation that nobody below can take; it is fed again. Grant one credit upstream."""

    microbatch: int

    def __str__(self) -> str:
        return f"N{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Fence:
    """Ask downstream to say when every gradient up to `microbatch` has been sent back."""

    microbatch: int

    def __str__(self) -> str:
        return f"?{self.microbatch}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a fence: no gradient up to `microbatch` is still to be sent upstream."""

    microbatch: int

    def __str__(self) -> str:
        return f"!{self.microbatch}"


@dataclass(frozen=True, slots=True)
class EndFeed:
    """Tell the downstream stage that all has been sent."""

    def __str__(self) -> str:
        return "Z"


Action: TypeAlias = (
    Forward | Backward | Update | Refine | Evaluate | Evict | Send | Drop | Skip | Snapshot | Fence | Answer | EndFeed
)
