"""An assignment: all that a worker needs to become a stage. It travels in one message."""

from dataclasses import dataclass, replace
from functools import cached_property
from operator import index
from pathlib import Path

from decoupled import user_code
from decoupled.config import Run
from decoupled.errors import RunFailed
from decoupled.nn.metrics import Metric, load_metrics
from decoupled.nn.model import Model
from decoupled.nn.parameters import Array
from decoupled.nn.stage import Stage
from decoupled.runtime.resolve import ResolvedRun, build_model, training
from decoupled.schedules.catalogue import SCHEDULES, Settings, is_decoupled, options_of
from decoupled.schedules.interface import Place, Schedule
from decoupled.tensors import TensorSpec
from decoupled.wire.messages import Kind, Message


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which stage of which run, where the next stage listens, and how the inputs are scaled."""

    attempt_id: str  # of this attempt at the run; a rollback begins another
    place: Place
    layers: tuple[int, ...]
    run: Run
    steps_total: int
    downstream: str | None  # its address; None for the last stage, "" while nobody has taken the next
    scaling: tuple[Array, Array]
    data: TensorSpec  # what enters the first stage
    targets: TensorSpec
    answers: int  # classes, bits or values that the network answers with
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
            "steps_total": self.steps_total,
            "downstream": self.downstream,
            "updates": self.updates,
            "downstream_key": self.downstream_key,
            "members": list(self.members),
            "data": self.data.to_body(),
            "targets": self.targets.to_body(),
            "answers": self.answers,
            "code": self.code,
        }
        kind, stage = Kind.ASSIGN, self.place.stage
        return Message(kind, run=self.attempt_id, generation=self.generation, stage=stage, body=body, tensors=self.scaling)

    @classmethod
    def from_message(cls, message: Message) -> "Assignment":
        """Raises KeyError, TypeError, ValueError or UsageError when the message is not a whole assignment."""
        body, (mean, deviation) = message.body, message.tensors
        downstream = body["downstream"]
        assignment = cls(
            attempt_id=message.run,
            place=Place(message.stage, index(body["stages"])),
            layers=tuple(map(index, body["layers"])),
            run=Run(**body["run"]),
            steps_total=index(body["steps_total"]),
            downstream=None if downstream is None else str(downstream),
            scaling=(mean, deviation),
            generation=message.generation,
            updates=index(body["updates"]),
            downstream_key=str(body["downstream_key"]),
            members=tuple(map(str, body["members"])),
            data=TensorSpec.from_body(body["data"]),
            targets=TensorSpec.from_body(body["targets"]),
            answers=index(body["answers"]),
            code={str(where): str(sha256) for where, sha256 in body["code"].items()},
        )
        if not assignment._is_consistent:
            raise ValueError("its parts do not fit together")
        return assignment

    def with_own_code(self) -> "Assignment":
        """The same with this process's own files in place of the coordinator's.

        Raises RunFailed when this process was not started with them, and KeyError when one has no sha256.
        """

        adopted = replace(self, run=self.run.with_references(self._own))
        if not adopted._fits_model:
            raise ValueError("its layers are not the model's")
        return adopted

    def _own(self, reference: str) -> str:
        where = user_code.split(reference)[0]
        if (found := user_code.own(reference, self.code[where])) is not None:
            return found
        name = Path(where).name
        if user_code.has_namesake(reference):
            raise RunFailed(f"This worker has another {name} than the coordinator: give both the same file, and start it again.")
        raise RunFailed(f"The run uses code of {name}, with which this worker was not started. Start it with --code {name}")

    @cached_property
    def model(self) -> Model:
        """The whole network, of which this stage is a part."""
        return build_model(self.run, self.data, self.targets, self.answers, self.scaling)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What its stage measures on the test set. Raises UsageError where that cannot be had."""
        return load_metrics(self.run.metrics) if self.place.is_last else {}

    @property
    def has_head(self) -> bool:
        """Its stage predicts the gradients of its outputs."""
        return not self.place.is_last and is_decoupled(self.run.schedule)

    @property
    def _is_consistent(self) -> bool:
        """The layers are in order, and the data and the targets can be those of a network."""
        first, *_, last = (*self.layers, *self.layers)
        is_row = self.layers == tuple(range(max(first, 0), last + 1))
        return is_row and len(self.targets) > 0 and (user_code.is_reference(self.run.model) or self._fits_model)

    @property
    def _fits_model(self) -> bool:
        """The stage's place is that of its layers in the network."""
        first, last = self.layers[0], self.layers[-1]
        return (self.place.is_first, self.place.is_last) == (first == 0, last == self.model.layers - 1)


def assign(resolved: ResolvedRun, stage: int, attempt_id: str = "", downstream: str | None = None) -> Assignment:
    """The first assignment of one stage of a resolved run."""
    return Assignment(
        attempt_id=attempt_id,
        place=Place(stage, len(resolved.stages)),
        layers=resolved.stages[stage],
        run=resolved.run,
        steps_total=resolved.steps_total,
        downstream=downstream,
        scaling=resolved.scaling,
        data=resolved.inputs,
        targets=resolved.targets,
        answers=resolved.dataset.outputs,
        code=user_code.fingerprints(resolved.run.references),
    )


def make_stage(assignment: Assignment) -> Stage:
    """The stage with its initial weights: the same for a seed, whatever the partition."""
    trained = training(assignment.run, assignment.steps_total, assignment.has_head, assignment.place.stage)
    return assignment.model.stage(assignment.layers, trained)


def build_schedule(assignment: Assignment) -> Schedule:
    """The schedule that drives this stage."""
    run, options = assignment.run, assignment.run.args.schedule
    if run.schedule == "dni":
        assert run.feedback_every is not None
        assert run.dni.feedback is not None
        settings = Settings(run.feedback_every, run.dni.stash_max, run.dni.feedback, run.dni.overflow, run.dni.share)
        options = options_of("dni", settings) | options
    elif run.schedule == "local":
        options = {"stash_max": run.dni.stash_max, "overflow": run.dni.overflow} | options
    schedule: Schedule = SCHEDULES.make(run.schedule, assignment.place, options=options)
    return schedule
