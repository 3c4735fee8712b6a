"""Messages: one frozen form for everything that travels between processes."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

# What it raises to read a message in which something is missing, of another type, or not to be had.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, OverflowError, MemoryError)


class Kind(Enum):
    """What a message is. The value is what stands in the header."""

    # between neighbouring stages
    HELLO = "hello"  # upstream to downstream: I am your upstream
    WINDOW = "window"  # downstream to upstream: my inbox holds `count` microbatches of `takes`, and `room` more now
    ACTIVATION = "activation"  # tensors: the output and its targets
    GRADIENT = "gradient"  # tensors: the gradient of the receiver's output
    CREDIT = "credit"  # room for `count` more
    MARKER = "marker"  # save your state as it is after `microbatch`
    FENCE = "fence"  # say when every gradient up to `microbatch` has been sent
    GRADIENTS_ENDED = "gradients-ended"  # downstream to upstream: no gradient up to `microbatch` will come any more
    FEED_ENDED = "feed-ended"  # all has been sent
    PUBLISHED = "published"  # downstream to upstream: what the last stage has learnt that heads read
    ADOPTED = "adopted"  # upstream to downstream: that has been taken over, and a newer one may come
    FINISHED = "finished"  # downstream to upstream: no gradient will come any more
    # between a worker and the coordinator
    JOIN = "join"  # here I am, and where my inbox is
    LIMITS = "limits"  # your links have other limits than the run's: join again by links that have these
    ASSIGN = "assign"  # you are this stage, these are your neighbours, this is the run
    REFUSE = "refuse"  # you cannot take part, and why
    STATE = "state"  # a piece of the state to go on from; comes before the assignment
    NEIGHBOUR = "neighbour"  # your downstream stage is at another address now
    READY = "ready"  # the stage is built, and its downstream has answered
    REPORT = "report"  # counters and spans since the last report
    EVALUATED = "evaluated"  # what the last stage found for one evaluation microbatch
    SNAPSHOT = "snapshot"  # a piece of a stage's state after `microbatch`
    BROKEN = "broken"  # a link to a neighbour broke
    RESULT = "result"  # a piece of a stage's trained arrays
    FAILED = "failed"  # the worker cannot go on, and why
    FAULT = "fault"  # do that to yourself, on purpose
    STOP = "stop"  # the run is over, or else you are dismissed from it, and why
    # between a status client, which takes no part, and the coordinator
    ASK = "ask"  # how do things stand?
    ANSWER = "answer"  # who is here, of what versions, and what time it is
    # between any two
    PING = "ping"  # nothing; sending it shows whether the peer can be reached


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message: who says what about which microbatch, small facts in `body`, arrays in `tensors`.

    `generation` counts a stage's incarnations, so that messages of a dead one can be told apart. `weight_version` is the
    sender's number of updates. `cause` names what led to the message. Sent arrays are never written again; received ones
    are read-only.
    """

    kind: Kind
    run: str = ""
    generation: int = 0
    stage: int = -1
    microbatch: int = -1
    weight_version: int = 0
    cause: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    tensors: tuple[Array, ...] = ()
