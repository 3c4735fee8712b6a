"""A run as one frozen, checked value.

The plain fields are those of the command line; the sections hold the rest. No behaviour lives here.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from decoupled import user_code
from decoupled.config.fault import Fault
from decoupled.config.sections import (
    MOMENTUM,
    WHOLE_MAX,
    Arguments,
    CheckpointOptions,
    DatasetOptions,
    DniOptions,
    EmulationOptions,
    Frozen,
    HeadOptions,
    LinkOptions,
    NetworkOptions,
    OptimiserOptions,
    RuntimeOptions,
    SupervisionOptions,
)
from decoupled.errors import UsageError
from decoupled.nn.catalogue import HEAD_NAMES, MODELS
from decoupled.nn.metrics import METRICS, name_of
from decoupled.schedules.catalogue import EXACT, SCHEDULES, is_decoupled

PIPELINES = ("gpipe", "1f1b", "2bw")  # they cut a batch into microbatches
OF_ROWS = ("mlp", "torch-mlp")  # models that take a sample of any shape as a row of numbers
HIDDEN = (256, 256, 256)
GIVEN = ("arrays", "source")  # how a run folder calls data that were given in memory, and that it does not hold

# Names, or references to a user's own. Nothing is loaded when a run is read.
ModelName: TypeAlias = Annotated[str, BeforeValidator(MODELS.name)]
HeadName: TypeAlias = Annotated[str, BeforeValidator(HEAD_NAMES.name)]
MetricName: TypeAlias = Annotated[str, BeforeValidator(METRICS.name)]
ScheduleName: TypeAlias = Annotated[str, BeforeValidator(SCHEDULES.name)]


class Run(Frozen):
    """All that decides a training run.

    `data` is a name, an .npz path, a mapping of four arrays, or a source of batches (see `decoupled.data.source`).
    """

    data: Any = "digits"
    task: Literal["classification", "regression", "multilabel"] | None = None  # None: guessed from the targets
    model: ModelName = "mlp"  # fully connected; its layers have the widths `hidden`
    hidden: tuple[int, ...] = HIDDEN
    schedule: ScheduleName = "dni"
    head: HeadName = "auto"  # the one that fits what flows
    feedback_every: int | None = Field(None, ge=1, le=WHOLE_MAX)  # None: the one that suits the head
    epochs: int = Field(20, ge=1, le=WHOLE_MAX)
    batch: int = Field(64, ge=1, le=WHOLE_MAX)
    microbatches: int | None = Field(None, ge=1, le=WHOLE_MAX)  # of gpipe, 1f1b and 2bw, in a batch; None: 4
    lr: float = Field(3e-3, gt=0)
    seed: int = Field(0, ge=0, le=WHOLE_MAX)
    workers: int | None = Field(None, ge=1)  # None: one per layer; of other models than mlp 4 at most
    stages: tuple[tuple[int, ...], ...] | None = None  # which layers each worker has; None: cut by their work
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
    metrics: tuple[MetricName, ...] = ()  # what is measured on the test set, such as top5, or my_metrics.py:mine

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
        if self.model not in OF_ROWS:
            return self
        if self.batch == 1 and self.network.batch_norm:
            raise ValueError("batch norm needs batches of at least 2; raise --batch, or add --set network.batch_norm=false")
        if self.network.batch_norm and self.batch < 2 * (self.microbatches or 1):
            raise ValueError(f"batch norm needs microbatches of at least 2; {self.batch} samples make no {self.microbatches}")
        return self

    @model_validator(mode="after")
    def _momentum_is_said_once(self) -> "Run":
        if self.optimiser.momentum != MOMENTUM and (others := self.args.optimiser.keys() & {"betas", "momentum"}):
            raise ValueError(f"args.optimiser.{min(others)} takes the place of optimiser.momentum; leave one of the two out")
        return self

    @field_validator("metrics")
    @classmethod
    def _have_names_of_their_own(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(map(name_of, metrics))) < len(metrics):
            raise ValueError("each metric needs a name of its own")
        return metrics

    @model_validator(mode="after")
    def _schedule_fits(self) -> "Run":
        if self.schedule == "single" and self.workers not in (None, 1):
            raise ValueError(f"single trains in one process and has no use for {self.workers} workers")
        if self.schedule in ("dni", "local", "lockstep", "async1f1b", "single") and self.microbatches not in (None, 1):
            raise ValueError(f"{self.schedule} takes a batch whole; only gpipe, 1f1b and 2bw cut it into microbatches")
        if self.schedule in EXACT and self.dni.overflow != "block":
            raise ValueError(f"{self.schedule} needs every microbatch's gradient; only dni can drop some, so leave overflow out")
        if self.schedule in EXACT and (self.emulation.drop or any(fault.kind == "drop" for fault in self.faults)):
            raise ValueError(f"{self.schedule} would wait for ever for a lost gradient; only dni can do without")
        if self.schedule in EXACT and self.supervision.on_failure == "continue":
            raise ValueError(f"{self.schedule} cannot go on without one of its stages; it rolls back")
        if self.schedule == "single" and (self.faults or self.emulation.kill_every_s):
            raise ValueError("single has no workers and links in which something could go wrong")
        return self

    @model_validator(mode="after")
    def _is_saved_between_kills(self) -> "Run":
        """Or a run that rolls back would never end."""
        kill_s, save_s = self.emulation.kill_every_s, self.checkpoint.every_s
        if kill_s is not None and self.checkpoint.every is None and not 0 < save_s < kill_s:
            raise ValueError(
                f"with a kill every {kill_s:g} s a run needs checkpoints more often than that; checkpoint.every_s is {save_s:g}"
            )
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> "Run":
        if self.model not in OF_ROWS:
            self._refuse_of_rows()
        if self.model != "mlp":  # how many layers it has shows when it is made
            return self
        if self.args.model:
            raise ValueError("args.model is for other models; mlp is described by hidden and network")
        layers = len(self.hidden) + 1
        if self.stages is not None:
            if [layer for stage in self.stages for layer in stage] != list(range(layers)) or not all(self.stages):
                raise ValueError(f"stages must hold the layers 0 to {layers - 1} in order, each once, and none may be empty")
            if self.workers not in (None, len(self.stages)):
                raise ValueError(f"there are {len(self.stages)} stages but {self.workers} workers; leave one of the two out")
        elif self.workers is not None and self.workers > layers:
            raise ValueError(f"{self.workers} workers cannot share {layers} layers")
        self.refuse_missing_stages(1 if self.schedule == "single" else len(self.stages or ()) or self.workers or layers)
        return self

    def refuse_missing_stages(self, count: int) -> None:
        """Raises ValueError when something is to happen to a stage that is not there, of so many."""
        if self.emulation.straggler is not None and self.emulation.straggler >= count:
            raise ValueError(f"there is no stage {self.emulation.straggler} to slow down; the last of {count} is {count - 1}")
        if len(self.emulation.link_factors) >= count:
            raise ValueError(f"between {count} stages the links are {count - 1}, and not {len(self.emulation.link_factors)}")
        for fault in self.faults:
            last = count - 1 - (fault.kind in ("partition", "drop"))  # these are about the link to the next stage
            if fault.stage > last:
                raise ValueError(
                    f"there is no stage {fault.stage} for the fault {fault.kind}; the last that can have it is {last}"
                )

    def _refuse_of_rows(self) -> None:
        """Raises ValueError for what describes fully connected networks alone."""
        usual = NetworkOptions()
        described = {
            "hidden": self.hidden != HIDDEN,
            "network.activation": self.network.activation != usual.activation,
            "network.batch_norm": self.network.batch_norm != usual.batch_norm,
        }
        for name, is_given in described.items():
            if is_given:
                raise ValueError(f"{name} describes mlp and torch-mlp; {self.model} has options of its own: --model-args")

    @property
    def rolls_back(self) -> bool:
        """A lost worker takes all stages back to the last checkpoint."""
        return not is_decoupled(self.schedule) or self.supervision.on_failure == "rollback"

    @property
    def references(self) -> tuple[str, ...]:
        """The user's code that the stages need."""
        named = (
            self.model,
            self.schedule,
            self.head,
            self.optimiser.name,
            self.network.loss,
            self.network.activation,
            *self.metrics,
        )
        return tuple(dict.fromkeys(name for name in named if name is not None and user_code.is_reference(name)))

    @property
    def code(self) -> tuple[str, ...]:
        """The files and modules of the user's that the run needs."""
        named = [*self.references, *([self.data] if self._data_is_code else [])]
        return tuple(dict.fromkeys(user_code.split(reference)[0] for reference in named))

    def with_references(self, instead: Callable[[str], str]) -> "Run":
        """The same run with other references in their places."""

        def changed(name: str) -> str:
            return instead(name) if user_code.is_reference(name) else name

        network = {"activation": changed(self.network.activation), "loss": self.network.loss and changed(self.network.loss)}
        optimiser = {"name": changed(self.optimiser.name)}
        sections = {"network": self.network.model_copy(update=network), "optimiser": self.optimiser.model_copy(update=optimiser)}
        data = changed(self.data) if self._data_is_code else self.data
        plain = {"model": changed(self.model), "schedule": changed(self.schedule), "head": changed(self.head), "data": data}
        return self.model_copy(update=sections | plain | {"metrics": tuple(map(changed, self.metrics))})

    @property
    def _data_is_code(self) -> bool:
        """text:FILE has the form of a reference, and is none."""
        return isinstance(self.data, str) and not self.data.startswith("text:") and user_code.is_reference(self.data)

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
        return "data is a name, text:FILE, an .npz file's path, a mapping of x_train, y_train, x_test and y_test, or a source."
    if first["type"] == "missing":
        return f"{where} is missing."
    if first["type"] == "value_error":
        return f"{what[0].upper()}{what[1:]}."
    return f"{where}: {what}, not {first['input']!r:.60}."
