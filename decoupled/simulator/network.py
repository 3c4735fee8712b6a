"""A network on paper: what each stage's device can do, what the links carry, and how often a device is lost.

Times are in any one unit, sizes in any other, and bandwidths in sizes per time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Costs:
    """How long each action takes; the others take no time."""

    forward: float = 1.0
    backward: float = 1.0  # down to the weights' gradients
    input_gradient: float = 1.0  # on top of that, where it is sent upstream
    update: float = 0.0
    refine: float = 0.0
    synthesize: float = 0.0  # on top of a backward pass from a synthetic gradient


@dataclass(frozen=True, slots=True)
class Device:
    """What a stage runs on."""

    costs: Costs = field(default_factory=Costs)
    upload: float = math.inf  # bandwidth of all that it sends, to whomever
    failure_every: float = math.inf  # mean time between two failures
    recovery: float = 0.0  # from a failure until a replacement asks for its state


@dataclass(frozen=True, slots=True)
class Link:
    """The way to a stage from the one before it; that to the first stage begins at the coordinator. Both ways are alike."""

    latency: float = 0.0
    jitter: float = 0.0  # up to so much more, by chance; order is kept
    bandwidth: float = math.inf  # each way


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large messages are."""

    activation: float = 0.0  # a microbatch's, with its targets
    gradient: float = 0.0
    state: float = 0.0  # a stage's, in a checkpoint
    header: float = 0.0  # of every message


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Where the data come from and the checkpoints go to."""

    feed: float = 0.0  # time for a microbatch
    upload: float = math.inf  # for the feed, and the states of replacements
    download: float = math.inf  # for checkpoints
    checkpoint_every: float = math.inf


@dataclass(frozen=True, slots=True)
class Network:
    """A device for each stage, and as many links. Raises ValueError for other numbers."""

    devices: Sequence[Device]
    links: Sequence[Link]
    sizes: Sizes = field(default_factory=Sizes)
    coordinator: Coordinator = field(default_factory=Coordinator)

    def __post_init__(self) -> None:
        if len(self.devices) != len(self.links):
            raise ValueError(f"{len(self.links)} links do not join a coordinator and {len(self.devices)} devices")
