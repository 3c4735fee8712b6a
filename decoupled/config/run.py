"""A run as one frozen, checked value.

The plain fields are those of the command line; the sections hold the rest. No behaviour lives here.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from decoupled import user_code
from decoupled.errors import UsageError
from decoupled.nn.dense_model import MODELS
from decoupled.nn.heads import HEADS
from decoupled.nn.layers import ACTIVATIONS
from decoupled.nn.losses import LOSSES
from decoupled.nn.optimisers import OPTIMISERS
from decoupled.schedules.catalogue import SCHEDULES, SYNCHRONOUS, is_decoupled
from decoupled.wire.codec import MESSAGE_BYTES_MAX

WHOLE_MAX = 2**63 - 1  # what TOML and msgpack can hold
QUEUE_MAX = 2**31 - 1  # what ZeroMQ can count


PIPELINES = ("gpipe", "1f1b")

# Names, or references to a user's own. Nothing is loaded when a run is read.
ActivationName: TypeAlias = Annotated[str, BeforeValidator(ACTIVATIONS.name)]
ModelName: TypeAlias = Annotated[str, BeforeValidator(MODELS.name)]
HeadName: TypeAlias = Annotated[str, BeforeValidator(HEADS.name)]
LossName: TypeAlias = Annotated[str, BeforeValidator(LOSSES.name)]
OptimiserName: TypeAlias = Annotated[str, BeforeValidator(OPTIMISERS.name)]
ScheduleName: TypeAlias = Annotated[str, BeforeValidator(SCHEDULES.name)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkOptions(_Frozen):
    """What the hidden layers are made of."""

    activation: ActivationName = "relu"
    batch_norm: bool = True
    loss: LossName | None = None  # None: the one that suits the targets
    dtype: Literal["float32", "float64"] = "float32"


class OptimiserOptions(_Frozen):
    """How weights move; the learning rate itself is `lr`."""

    name: OptimiserName = "adam"
    momentum: float = Field(0.9, ge=0, lt=1)  # of sgd
    decay: Literal["constant", "linear", "cosine"] = "linear"  # of the learning rate, to 0 at the end of the run


class HeadOptions(_Frozen):
    """How the heads learn; which form they have is `head`."""

    lr: float | None = Field(None, gt=0)  # None: the run's
    width: int = Field(32, ge=0, le=65_536)  # of the readout's narrow ReLU layer; 0: none
    hidden: int = Field(1024, ge=1, le=65_536)  # of mlp-label's ReLU layer
    feedback_weight: float = Field(4.0, ge=0)  # of the returned gradient beside the readout's own loss


class Arguments(_Frozen):
    """Options of what the run names, as keyword arguments: a table for each kind. They go over those of the other sections."""

    activation: dict[str, Any] = {}
    data: dict[str, Any] = {}  # of a reference
    head: dict[str, Any] = {}
    loss: dict[str, Any] = {}
    model: dict[str, Any] = {}  # of a reference
    optimiser: dict[str, Any] = {}
    schedule: dict[str, Any] = {}


class DniOptions(_Frozen):
    """What the decoupled schedule does with the gradients that come back, and what bounds it."""

    feedback: Literal["chained", "bootstrapped"] | None = None  # None: the one that suits the head
    stash_max: int = Field(8, ge=1, le=4096)  # microbatches whose gradient is still out
    overflow: Literal["block", "drop-oldest", "latest"] = "block"  # when the downstream inbox is full
    patience_s: float = Field(60.0, gt=0)  # of silence from the next stage, before its gradients are given up


class LinkOptions(_Frozen):
    """What the links between workers hold."""

    window: int = Field(8, ge=1, le=4096)  # microbatches in a stage's inbox
    high_water_mark: int = Field(64, ge=1, le=QUEUE_MAX)  # messages in a socket's queue
    message_bytes_max: int = Field(MESSAGE_BYTES_MAX, ge=1 << 10, le=WHOLE_MAX)  # a batch between stages must fit
    silence_s: float = Field(30.0, ge=0.1, le=86_400)  # before a silent host is taken for dead; not on socket files


class RuntimeOptions(_Frozen):
    """How the processes behave."""

    threads: int = Field(1, ge=1, le=1024)  # BLAS threads of each worker
    evaluate_every: int = Field(0, ge=0, le=WHOLE_MAX)  # epochs; 0: only at the end, outside the time that is measured
    report_every_s: float = Field(0.25, gt=0)


class EmulationOptions(_Frozen):
    """Hardware that is not there, by waiting: slower links and devices than this machine has."""

    latency_ms: float = Field(0.0, ge=0, le=60_000)  # of every message to a worker, each way
    drop: float = Field(0.0, ge=0, lt=1)  # probability that a gradient gets lost on its way
    straggler: int | None = Field(None, ge=0)  # the stage that is slow
    straggler_factor: float = Field(1.0, ge=1, le=10_000)  # how many times as long everything takes there
    device_ms: float | None = Field(None, gt=0, le=60_000)  # a layer's three products for a batch, not computed but waited for


class CheckpointOptions(_Frozen):
    """How often the whole run is saved, so that it can go on from there."""

    every: int | None = Field(None, ge=1, le=WHOLE_MAX)  # microbatches; None: by time
    every_s: float = Field(10.0, ge=0, le=1e9)  # seconds; 0: only after a worker was replaced
    keep: int = Field(3, ge=1, le=10_000)  # the newest so many


class SupervisionOptions(_Frozen):
    """What happens when a worker is lost."""

    on_failure: Literal["continue", "rollback"] | None = None  # None: continue under dni; the others can only roll back
    restarts_max: int = Field(5, ge=0, le=1_000_000)  # of a stage's worker within ten minutes; then the run ends
    backoff_s: float = Field(0.1, ge=0, le=3600)  # before the first restart; twice as long before each further one
    stall_timeout_s: float = Field(30.0, gt=0, le=1e9)  # of silence before a worker is replaced


class Fault(_Frozen):
    """Something that goes wrong on purpose, when `stage` gets to `microbatch`."""

    kind: Literal["kill", "stop", "drop", "delay", "partition"]
    stage: int = Field(ge=0)
    microbatch: int = Field(0, ge=0, le=WHOLE_MAX)
    seconds: float | None = Field(None, gt=0, le=1e9)  # that it lasts; None: to the end
    share: float | None = Field(None, gt=0, lt=1)  # drop: of the gradients that come to the stage
    ms: float | None = Field(None, gt=0, le=60_000)  # delay: of every message that comes to the stage

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "Fault":
        needed = {"drop": "share", "delay": "ms", "partition": "seconds"}.get(self.kind)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"{self.kind} needs {needed}, as in {self.kind}:stage={self.stage},{needed}=...")
        for name, kinds in {"share": ("drop",), "ms": ("delay",), "seconds": ("stop", "drop", "delay", "partition")}.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{self.kind} has no {name}")
        return self

    def __str__(self) -> str:
        """As the command line takes it."""
        given = {name: value for name, value in self.model_dump(exclude={"kind"}).items() if value is not None}
        return f"{self.kind}:{','.join(f'{name}={value}' for name, value in given.items())}"


class DatasetOptions(_Frozen):
    """Where a dataset is, or how it is made."""

    directory: str | None = None  # of mnist's files; None: $DECOUPLED_DATA, or a download
    bits: int = Field(8, ge=2, le=16)  # of addition


GIVEN = ("arrays", "source")  # how a run folder calls data that were given in memory, and that it does not hold


class Run(_Frozen):
    """All that decides a training run.

    `data` is a name, an .npz path, a mapping of four arrays, or a source of batches (see `decoupled.data.source`).
    """

    data: Any = "digits"
    task: Literal["classification", "regression", "multilabel"] | None = None  # None: guessed from the targets
    model: ModelName = "mlp"  # which fully connected layers have the widths `hidden`
    hidden: tuple[int, ...] = (256, 256, 256)
    schedule: ScheduleName = "dni"
    head: HeadName = "readout"
    feedback_every: int | None = Field(None, ge=1, le=WHOLE_MAX)  # None: the one that suits the head
    epochs: int = Field(20, ge=1, le=WHOLE_MAX)
    batch: int = Field(64, ge=1, le=WHOLE_MAX)
    microbatches: int | None = Field(None, ge=1, le=WHOLE_MAX)  # of gpipe and 1f1b, in a batch; None: 4
    lr: float = Field(3e-3, gt=0)
    seed: int = Field(0, ge=0, le=WHOLE_MAX)
    workers: int | None = Field(None, ge=1)  # None: one per layer
    stages: tuple[tuple[int, ...], ...] | None = None  # which layers each worker has; None: cut evenly
    network: NetworkOptions = NetworkOptions()
    optimiser: OptimiserOptions = OptimiserOptions()
    heads: HeadOptions = HeadOptions()
    dni: DniOptions = DniOptions()
    link: LinkOptions = LinkOptions()
    runtime: RuntimeOptions = RuntimeOptions()
    dataset: DatasetOptions = DatasetOptions()
    emulation: EmulationOptions = EmulationOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()
    supervision: SupervisionOptions = SupervisionOptions()
    faults: tuple[Fault, ...] = ()
    args: Arguments = Arguments()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UsageError(_sentence(error)) from None

    @field_validator("data")
    @classmethod
    def _is_data(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return dict(data)
        if not isinstance(data, str) and not hasattr(data, "batches"):
            raise ValueError("this is no data")
        return data

    @model_validator(mode="after")
    def _batches_fit(self) -> "Run":
        if any(not 1 <= width <= 65_536 for width in self.hidden):
            raise ValueError(f"every hidden layer is 1 to 65536 wide, not {self.hidden}")
        if self.batch == 1 and self.network.batch_norm:
            raise ValueError("batch norm needs batches of at least 2; raise --batch, or add --set network.batch_norm=false")
        if self.network.batch_norm and self.batch < 2 * (self.microbatches or 1):
            raise ValueError(f"batch norm needs microbatches of at least 2; {self.batch} samples make no {self.microbatches}")
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> "Run":
        if self.schedule == "single" and self.workers not in (None, 1):
            raise ValueError(f"single trains in one process and has no use for {self.workers} workers")
        if self.schedule in ("dni", "lockstep", "single") and self.microbatches not in (None, 1):
            raise ValueError(f"{self.schedule} takes a batch whole; only gpipe and 1f1b cut it into microbatches")
        if self.schedule in SYNCHRONOUS and self.dni.overflow != "block":
            raise ValueError(f"{self.schedule} needs every microbatch's gradient; only dni can drop some, so leave overflow out")
        if self.schedule in SYNCHRONOUS and (self.emulation.drop or any(fault.kind == "drop" for fault in self.faults)):
            raise ValueError(f"{self.schedule} would wait for ever for a lost gradient; only dni can do without")
        if self.schedule in SYNCHRONOUS and self.supervision.on_failure == "continue":
            raise ValueError(f"{self.schedule} cannot go on without one of its stages; it rolls back")
        if self.schedule == "single" and self.faults:
            raise ValueError("single has no workers and links in which something could go wrong")
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> "Run":
        if self.model != "mlp":  # how many layers it has shows when it is made
            return self
        if self.args.model:
            raise ValueError("args.model is for a model of your own; mlp is described by hidden and network")
        layers = len(self.hidden) + 1
        if self.stages is not None:
            if [layer for stage in self.stages for layer in stage] != list(range(layers)) or not all(self.stages):
                raise ValueError(f"stages must hold the layers 0 to {layers - 1} in order, each once, and none may be empty")
            if self.workers not in (None, len(self.stages)):
                raise ValueError(f"there are {len(self.stages)} stages but {self.workers} workers; leave one of the two out")
        elif self.workers is not None and self.workers > layers:
            raise ValueError(f"{self.workers} workers cannot share {layers} layers")
        count = 1 if self.schedule == "single" else len(self.stages or ()) or self.workers or layers
        if self.emulation.straggler is not None and self.emulation.straggler >= count:
            raise ValueError(f"there is no stage {self.emulation.straggler} to slow down; the last of {count} is {count - 1}")
        for fault in self.faults:
            last = count - 1 - (fault.kind in ("partition", "drop"))  # these are about the link to the next stage
            if fault.stage > last:
                raise ValueError(
                    f"there is no stage {fault.stage} for the fault {fault.kind}; the last that can have it is {last}"
                )
        return self

    @property
    def rolls_back(self) -> bool:
        """A lost worker takes all stages back to the last checkpoint."""
        return not is_decoupled(self.schedule) or self.supervision.on_failure == "rollback"

    @property
    def references(self) -> tuple[str, ...]:
        """The user's code that the stages need."""
        named = (self.model, self.schedule, self.head, self.optimiser.name, self.network.loss, self.network.activation)
        return tuple(dict.fromkeys(name for name in named if name is not None and user_code.is_reference(name)))

    @property
    def code(self) -> tuple[str, ...]:
        """The files and modules of the user's that the run needs."""
        named = [*self.references, *([self.data] if isinstance(self.data, str) and user_code.is_reference(self.data) else [])]
        return tuple(dict.fromkeys(user_code.split(reference)[0] for reference in named))

    def with_references(self, instead: Callable[[str], str]) -> "Run":
        """The same run with other references in their places."""

        def changed(name: str) -> str:
            return instead(name) if user_code.is_reference(name) else name

        network = {"activation": changed(self.network.activation), "loss": self.network.loss and changed(self.network.loss)}
        optimiser = {"name": changed(self.optimiser.name)}
        sections = {"network": self.network.model_copy(update=network), "optimiser": self.optimiser.model_copy(update=optimiser)}
        data = changed(self.data) if isinstance(self.data, str) else self.data
        plain = {"model": changed(self.model), "schedule": changed(self.schedule), "head": changed(self.head), "data": data}
        return self.model_copy(update=sections | plain)

    @property
    def data_name(self) -> str:
        arrays, source = GIVEN
        return self.data if isinstance(self.data, str) else arrays if isinstance(self.data, Mapping) else source


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, as a sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"There is no setting {where}."
    if first["loc"][:1] == ("data",):
        return "data is a name, the path of an .npz file, a mapping of x_train, y_train, x_test and y_test, or a source."
    if first["type"] == "missing":
        return f"{where} is missing."
    if first["type"] == "value_error":
        return f"{what[0].upper()}{what[1:]}."
    return f"{where}: {what}, not {first['input']!r:.60}."
