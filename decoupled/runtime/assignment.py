"""An assignment: all that a worker needs to become a stage. It travels in one message."""

from dataclasses import asdict, dataclass, replace
from operator import index
from typing import Any

import numpy as np

from decoupled import user_code
from decoupled.config import Run
from decoupled.nn.dense import DenseStage
from decoupled.nn.heads import HEADS, Head, HeadSite
from decoupled.nn.layers import Layer, Standardize
from decoupled.nn.network import Architecture, build_layer
from decoupled.nn.optimisers import OPTIMISERS, LearningRate, Optimiser
from decoupled.nn.parameters import Array
from decoupled.runtime.resolve import ResolvedRun
from decoupled.schedules.catalogue import SCHEDULES, Settings, is_decoupled
from decoupled.schedules.interface import Place, Schedule
from decoupled.tensors import Tensors, TensorSpec
from decoupled.wire.messages import Kind, Message


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """Which stage of which run, where the next stage listens, and how the inputs are scaled."""

    attempt_id: str  # of this attempt at the run; a rollback begins another
    place: Place
    layers: tuple[int, ...]
    run: Run
    architecture: Architecture
    steps_total: int
    downstream: str | None  # its address; None for the last stage, "" while nobody has taken the next
    scaling: tuple[Array, Array]
    data: TensorSpec  # what enters the first stage
    targets: TensorSpec
    code: dict[str, str]  # sha256 of each file of the user's that the stages need, by where the coordinator has it
    generation: int = 0  # assignments of this stage before this one
    updates: int = 0  # that the run has seen so far
    downstream_key: str = ""  # what it must prove to have; with keys only
    members: tuple[str, ...] = ()  # public keys of all who may call this stage; with keys only

    def to_message(self) -> Message:
        body = {
            "stages": self.place.stages,
            "layers": list(self.layers),
            "run": self.run.model_dump(mode="json", exclude={"data"}),
            "architecture": asdict(self.architecture),
            "steps_total": self.steps_total,
            "downstream": self.downstream,
            "updates": self.updates,
            "downstream_key": self.downstream_key,
            "members": list(self.members),
            "data": self.data.to_body(),
            "targets": self.targets.to_body(),
            "code": self.code,
        }
        kind, stage = Kind.ASSIGN, self.place.stage
        return Message(kind, run=self.attempt_id, generation=self.generation, stage=stage, body=body, tensors=self.scaling)

    @classmethod
    def from_message(cls, message: Message) -> "Assignment":
        """Raises KeyError, TypeError, ValueError or UsageError when the message is not a whole assignment."""
        body, (mean, deviation) = message.body, message.tensors
        architecture: dict[str, Any] = body["architecture"] | {"widths": tuple(map(index, body["architecture"]["widths"]))}
        downstream = body["downstream"]
        assignment = cls(
            attempt_id=message.run,
            place=Place(message.stage, index(body["stages"])),
            layers=tuple(map(index, body["layers"])),
            run=Run(**body["run"]),
            architecture=Architecture(**architecture),
            steps_total=index(body["steps_total"]),
            downstream=None if downstream is None else str(downstream),
            scaling=(mean, deviation),
            generation=message.generation,
            updates=index(body["updates"]),
            downstream_key=str(body["downstream_key"]),
            members=tuple(map(str, body["members"])),
            data=TensorSpec.from_body(body["data"]),
            targets=TensorSpec.from_body(body["targets"]),
            code={str(where): str(sha256) for where, sha256 in body["code"].items()},
        )
        if not assignment._is_consistent:
            raise ValueError("its parts do not fit together")
        return assignment

    def with_own_code(self) -> "Assignment":
        """The same with this process's own files in place of the coordinator's.

        Raises RunFailed when this process was not started with them, and KeyError when one has no sha256.
        """

        def own(reference: str) -> str:
            return user_code.own(reference, self.code[user_code.split(reference)[0]])

        run = self.run.with_references(own)
        assert run.network.loss is not None
        architecture = replace(self.architecture, loss=run.network.loss, activation=run.network.activation)
        return replace(self, run=run, architecture=architecture)

    @property
    def inputs(self) -> TensorSpec:
        """What comes to the stage, beside the targets."""
        return self.data if self.place.is_first else self._between(self.layers[0])

    @property
    def outputs(self) -> TensorSpec:
        return self._between(self.layers[-1] + 1)

    def _between(self, layer: int) -> TensorSpec:
        """What flows from the layer before to that layer."""
        return TensorSpec.of(self.architecture.dtype, self.architecture.widths[layer])

    @property
    def has_head(self) -> bool:
        """Its stage predicts the gradients of its outputs."""
        return not self.place.is_last and is_decoupled(self.run.schedule)

    def split(self, tensors: Tensors) -> tuple[Tensors, Tensors]:
        """The inputs and the targets of a microbatch. Raises ValueError unless it can be one of this stage."""
        (self.inputs + self.targets).check(tensors)
        return tensors[: len(self.inputs)], tensors[len(self.inputs) :]

    @property
    def _is_consistent(self) -> bool:
        """The layers are some of the network's, in order, and the stage's place is theirs."""
        widths, (first, *_, last) = self.architecture.widths, (*self.layers, *self.layers)
        return (
            self.layers == tuple(range(max(first, 0), last + 1))
            and (self.place.is_first, self.place.is_last) == (first == 0, last == len(widths) - 2)
            and widths[1:-1] == self.run.hidden
            and min(widths) > 0
            and (self.run.network.loss, self.run.network.activation) == (self.architecture.loss, self.architecture.activation)
            and self.data in (TensorSpec.of(dtype, widths[0]) for dtype in ("uint8", "float32"))
            and len(self.targets) == 1
            and all(scale.shape in ((1,), widths[:1]) and scale.dtype.kind == "f" for scale in self.scaling)
        )


def assign(resolved: ResolvedRun, stage: int, attempt_id: str = "", downstream: str | None = None) -> Assignment:
    """The first assignment of one stage of a resolved run."""
    return Assignment(
        attempt_id=attempt_id,
        place=Place(stage, len(resolved.stages)),
        layers=resolved.stages[stage],
        run=resolved.run,
        architecture=resolved.architecture,
        steps_total=resolved.steps_total,
        downstream=downstream,
        scaling=resolved.dataset.scaling,
        data=resolved.inputs,
        targets=resolved.targets,
        code=user_code.fingerprints(resolved.run.references),
    )


def make_stage(assignment: Assignment) -> DenseStage:
    """The stage with its initial weights: the same for a seed, whatever the partition."""
    run, architecture = assignment.run, assignment.architecture
    layers: list[Layer] = []
    if assignment.place.is_first:
        mean, deviation = (scale.astype(architecture.dtype) for scale in assignment.scaling)
        layers.append(Standardize(mean, deviation))
    for layer in assignment.layers:
        layers += build_layer(architecture, layer, run.seed)
    head = _head(assignment) if assignment.has_head else None
    rate = LearningRate(run.optimiser.decay, assignment.steps_total)
    inputs, outputs, loss = assignment.inputs, assignment.outputs, architecture.make_loss()
    return DenseStage(inputs, outputs, layers, _optimiser(run), run.lr, rate, loss, head)


def _head(assignment: Assignment) -> Head:
    run, architecture = assignment.run, assignment.architecture
    last = assignment.layers[-1]
    site = HeadSite(
        inputs=architecture.widths[last + 1],
        outputs=architecture.widths[-1],
        loss=architecture.make_loss(),
        rate=run.heads.lr or run.lr,
        rng=np.random.default_rng([run.seed, last, 0x4EAD]),
        dtype=np.dtype(architecture.dtype).type,
    )
    of_section: dict[str, Any] = {"mlp-label": {"hidden": run.heads.hidden}}.get(run.head, {})
    if run.head == "readout":
        of_section = {"width": run.heads.width, "feedback_weight": run.heads.feedback_weight}
    head: Head = HEADS.make(run.head, site, options=of_section | run.args.head)
    return head


def _optimiser(run: Run) -> Optimiser:
    of_section = {"momentum": run.optimiser.momentum} if run.optimiser.name == "sgd" else {}
    optimiser: Optimiser = OPTIMISERS.make(run.optimiser.name, options=of_section | run.args.optimiser)
    return optimiser


def build_schedule(assignment: Assignment) -> Schedule:
    """The schedule that drives this stage."""
    run, options = assignment.run, assignment.run.args.schedule
    if run.schedule == "dni":
        assert run.feedback_every is not None
        assert run.dni.feedback is not None
        settings = Settings(run.feedback_every, run.dni.stash_max, run.dni.feedback, run.dni.overflow)
        options = asdict(settings) | options
    schedule: Schedule = SCHEDULES.make(run.schedule, assignment.place, options=options)
    return schedule
