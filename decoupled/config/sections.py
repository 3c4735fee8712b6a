"""The sections of a run: its options by what they are about, each frozen and checked."""

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from decoupled.nn.catalogue import OPTIMISER_NAMES
from decoupled.nn.layers import ACTIVATIONS
from decoupled.nn.losses import LOSSES
from decoupled.schedules.feedback import Feedback, Share, StashMax
from decoupled.schedules.links import Overflow
from decoupled.wire.codec import MESSAGE_BYTES_MAX

WHOLE_MAX = 2**63 - 1  # what TOML and msgpack can hold
MOMENTUM = 0.9
WITH_MOMENTUM = ("sgd", "nadam")  # optimisers
QUEUE_MAX = 2**31 - 1  # what ZeroMQ can count

# Names, or references to a user's own. Nothing is loaded when a run is read.
ActivationName: TypeAlias = Annotated[str, BeforeValidator(ACTIVATIONS.name)]
LossName: TypeAlias = Annotated[str, BeforeValidator(LOSSES.name)]
OptimiserName: TypeAlias = Annotated[str, BeforeValidator(OPTIMISER_NAMES.name)]


def _devices(text: Any) -> Any:
    if text != "auto" and not all(re.fullmatch(r"cpu|cuda(:\d{1,3})?", name) for name in str(text).split(",")):
        raise ValueError(f"a device is auto, cpu, cuda, or a list such as cuda:0,cuda:1, and not {text!r:.60}")
    return text


DeviceNames: TypeAlias = Annotated[str, BeforeValidator(_devices)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkOptions(Frozen):
    """What the hidden layers are made of."""

    activation: ActivationName = "relu"
    batch_norm: bool = True
    loss: LossName | None = None  # None: the one that suits the targets
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"  # bfloat16: autocast, of PyTorch's models


class OptimiserOptions(Frozen):
    """How weights move; the learning rate itself is `lr`."""

    name: OptimiserName = "adam"
    momentum: float = Field(MOMENTUM, ge=0, lt=1)  # of sgd and nadam
    decay: Literal["constant", "linear", "cosine"] = "linear"  # of the learning rate, to 0 at the end of the run
    warm_up: int = Field(0, ge=0, le=WHOLE_MAX)  # updates in which the learning rate rises to its start
    weight_decay: float | None = Field(None, ge=0)  # None: the optimiser's own; of PyTorch's models
    clip: float | None = Field(None, gt=0)  # the largest norm of a stage's mean gradient; of PyTorch's models

    @model_validator(mode="after")
    def _momentum_is_used(self) -> "OptimiserOptions":
        if self.momentum != MOMENTUM and self.name not in WITH_MOMENTUM:
            names = " and ".join(WITH_MOMENTUM)
            raise ValueError(f"optimiser.momentum is for {names}; {self.name} does not use it, so leave it out")
        return self


class HeadOptions(Frozen):
    """How the heads learn; which form they have is `head`."""

    lr: float | None = Field(None, gt=0)  # None: the run's
    width: int = Field(32, ge=0, le=65_536)  # of the readout's narrow ReLU layer; 0: none
    hidden: int = Field(1024, ge=1, le=65_536)  # of mlp-label's ReLU layer
    feedback_weight: float = Field(4.0, ge=0)  # of the returned gradient beside the readout's own loss
    publish_every: int = Field(10, ge=1, le=WHOLE_MAX)  # updates of the last stage; its output layer, for heads that read it


class Arguments(Frozen):
    """Options of what the run names, as keyword arguments: a table for each kind. They go over those of the other sections."""

    activation: dict[str, Any] = {}
    data: dict[str, Any] = {}  # of a reference
    head: dict[str, Any] = {}
    loss: dict[str, Any] = {}
    model: dict[str, Any] = {}  # of a reference
    optimiser: dict[str, Any] = {}
    schedule: dict[str, Any] = {}


class DniOptions(Frozen):
    """What the decoupled schedule does with the gradients that come back, and what bounds it."""

    feedback: Feedback | None = None  # None: the one that suits the head
    share: Share = 1.0  # adaptive, corrected: of its microbatches that a stage keeps for their true gradient
    stash_max: StashMax = 8  # microbatches whose gradient is still out
    overflow: Overflow = "block"  # when the downstream inbox is full
    late_weights: Literal["at-forward", "current"] | None = None  # of a pass that goes back late; None: the backend's usual
    patience_s: float = Field(60.0, gt=0)  # of silence from the next stage, before its gradients are given up


class LinkOptions(Frozen):
    """What the links between workers hold."""

    window: int = Field(8, ge=1, le=4096)  # microbatches in a stage's inbox
    high_water_mark: int = Field(64, ge=1, le=QUEUE_MAX)  # messages in a socket's queue
    message_bytes_max: int = Field(MESSAGE_BYTES_MAX, ge=1 << 10, le=WHOLE_MAX)  # a batch between stages must fit
    wire: Literal["float32", "bfloat16", "float16", "int8"] | None = None  # of activations and gradients; None: their own
    silence_s: float = Field(30.0, ge=0.1, le=86_400)  # before a silent host is taken for dead; not on socket files


class RuntimeOptions(Frozen):
    """How the processes behave."""

    threads: int = Field(1, ge=1, le=1024)  # of each worker's BLAS and PyTorch
    device: DeviceNames = "auto"  # of PyTorch's models: stage i is on device i, and around; auto: cuda, else cpu
    evaluate_every: int = Field(0, ge=0, le=WHOLE_MAX)  # epochs; 0: only at the end, outside the time that is measured
    report_every_s: float = Field(0.25, gt=0)


class EmulationOptions(Frozen):
    """Hardware that is not there, by waiting: slower links and devices than this machine has."""

    latency_ms: float = Field(0.0, ge=0, le=60_000)  # of every message to a worker, each way
    jitter_ms: float = Field(0.0, ge=0, le=60_000)  # up to so much more, by chance
    loss: float = Field(0.0, ge=0, lt=1)  # probability that a message takes a round trip more, as one that is sent again
    bandwidth_mbit: float | None = Field(None, gt=0)  # of every link, each way, in Mbit/s; what is sent faster queues
    drop: float = Field(0.0, ge=0, lt=1)  # probability that a gradient gets lost on its way
    straggler: int | None = Field(None, ge=0)  # the stage that is slow
    straggler_factor: float = Field(1.0, ge=1, le=10_000)  # how many times as long everything takes there
    straggler_for_s: float | None = Field(None, gt=0, le=1e9)  # that it is slow at a time; None: always
    straggler_every_s: float | None = Field(None, gt=0, le=1e9)  # from one such time to the next
    link_factors: tuple[float, ...] = ()  # of each link between stages: how many times as slow it is; those not named 1
    kill_every_s: float | None = Field(None, gt=0, le=1e9)  # seconds after which a worker is killed, of one stage after the other
    device_ms: float | None = Field(None, gt=0, le=60_000)  # a layer's three products for a batch, not computed but waited for

    @model_validator(mode="after")
    def _belong_together(self) -> "EmulationOptions":
        if (self.straggler_for_s is None) != (self.straggler_every_s is None):
            raise ValueError("a straggler that comes and goes needs both emulation.straggler_for_s and straggler_every_s")
        if self.straggler_for_s is not None and self.straggler is None:
            raise ValueError("which stage is the straggler? Say emulation.straggler, or leave straggler_for_s out")
        if self.straggler_for_s and self.straggler_every_s and self.straggler_for_s > self.straggler_every_s:
            raise ValueError(f"of every {self.straggler_every_s:g} s a straggler cannot be slow for {self.straggler_for_s:g} s")
        if not all(1 <= factor <= 10_000 for factor in self.link_factors):
            raise ValueError("each of emulation.link_factors is a number from 1 to 10000")
        if self.link_factors and not (self.latency_ms or self.bandwidth_mbit):
            raise ValueError("links are slower by emulation.link_factors only with a latency_ms or a bandwidth_mbit")
        return self

    @property
    def links_are_changed(self) -> bool:
        return bool(self.latency_ms or self.jitter_ms or self.loss or self.bandwidth_mbit or self.drop)


class CheckpointOptions(Frozen):
    """How often the whole run is saved, so that it can go on from there."""

    every: int | None = Field(None, ge=1, le=WHOLE_MAX)  # microbatches; None: by time
    every_s: float = Field(10.0, ge=0, le=1e9)  # seconds; 0: only after a worker was replaced
    keep: int = Field(3, ge=1, le=10_000)  # the newest so many


class SupervisionOptions(Frozen):
    """What happens when a worker is lost."""

    on_failure: Literal["continue", "rollback"] | None = None  # None: continue under dni; the others can only roll back
    restarts_max: int = Field(5, ge=0, le=1_000_000)  # of a stage's worker within ten minutes; then the run ends
    backoff_s: float = Field(0.1, ge=0, le=3600)  # before the first restart; twice as long before each further one
    stall_timeout_s: float = Field(30.0, gt=0, le=1e9)  # of silence before a worker is replaced


class DatasetOptions(Frozen):
    """Where a dataset is, or how it is made."""

    directory: str | None = None  # of mnist's and cifar10's files; None: $DECOUPLED_DATA, or a download
    augment: Literal["none", "flip", "shift", "flip-shift"] | None = None  # of images; None: flip-shift for cifar10
    bits: int = Field(8, ge=2, le=16)  # of addition
