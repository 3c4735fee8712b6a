"""A plan: what a run's model is made of, what its layers and heads cost, and how it is cut, before anything is trained."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from decoupled.nn.partition import Work
from decoupled.runtime.assignment import assign
from decoupled.runtime.resolve import ResolvedRun, training, work_of
from decoupled.runtime.timing import head_ms
from decoupled.runtime.wire_form import WireForm
from decoupled.schedules.feedback import WHILE_ROOM
from decoupled.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """A layer, or block, of the model."""

    layer: int
    name: str
    gives: str  # dtype and shape of what flows to the next, N for the samples
    weights: int  # numbers that it learns
    forward: float  # of a microbatch, in the plan's unit
    backward: float
    stage: int


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """What predicts the gradient of what leaves a stage."""

    name: str
    share: float | None  # its multiplications for a sample, as a share of the stage's, both ways; None: not known
    ms: float | None  # for a microbatch's synthetic gradient; None where work is counted


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The layers of one worker."""

    stage: int
    layers: tuple[int, ...]
    share: float  # of the model's work
    sends_bytes: int  # to the next stage for a sample, with its targets; 0 of the last
    returned_bytes: int  # of a sample whose gradient comes back
    head: HeadPlan | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it begins. `work` is in ms, measured on one thread, or in multiplications, for a microbatch."""

    model: str
    data: str
    schedule: str
    unit: str
    samples: int  # of the microbatch
    feedback_every: int | None  # every so many gradients come back; None: all, or as they fit
    layers: tuple[LayerPlan, ...]
    stages: tuple[StagePlan, ...]
    is_usual: bool  # the number of stages, which nobody asked for, is not that of the layers

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def plan_of(resolved: ResolvedRun) -> Plan:
    """The plan of a resolved run. Its model is measured where that was not needed for its cut."""
    run, model, work = resolved.run, resolved.model, work_of(resolved)
    first = next(resolved.feed.items()).x
    length = resolved.inputs.length_in((first,))
    stages = [_stage(resolved, stage, work, len(first), length) for stage in range(len(resolved.stages))]
    whose = {layer: stage.stage for stage in stages for layer in stage.layers}
    return Plan(
        model=run.model,
        data=run.data_name,
        schedule=run.schedule,
        unit=work.unit,
        samples=len(first),
        feedback_every=run.feedback_every if run.schedule == "dni" and run.dni.feedback not in WHILE_ROOM else None,
        layers=tuple(
            LayerPlan(
                layer,
                model.name(layer),
                str(model.flow(layer + 1)),
                model.weights(layer),
                work.forward[layer],
                work.backward[layer],
                whose[layer],
            )
            for layer in range(model.layers)
        ),
        stages=tuple(stages),
        is_usual=run.workers is None and 1 < len(stages) < model.layers,
    )


def _stage(resolved: ResolvedRun, stage: int, work: Work, rows: int, length: int) -> StagePlan:
    layers, is_last = resolved.stages[stage], stage == len(resolved.stages) - 1
    leaving, narrow = resolved.model.flow(layers[-1] + 1), resolved.run.link.wire
    return StagePlan(
        stage=stage,
        layers=layers,
        share=sum(work.layers[layer] for layer in layers) / (sum(work.layers) or 1),
        sends_bytes=0 if is_last else _bytes(WireForm(leaving, narrow).spec + resolved.targets, length),
        returned_bytes=0 if is_last else _bytes(WireForm(leaving.gradients, narrow).spec, length),
        head=_head(resolved, stage, work, rows, length) if assign(resolved, stage).has_head else None,
    )


def _head(resolved: ResolvedRun, stage: int, work: Work, rows: int, length: int) -> HeadPlan:
    model, layers = resolved.model, resolved.stages[stage]
    trained = replace(training(resolved.run, 1, True, stage), devices="cpu")
    of_head, of_stage = model.head_work(layers, trained, length)
    ms = None
    if work.unit == "ms":
        made = model.stage(layers, trained)
        ms = head_ms(made, made.inputs.zeros(rows, length), resolved.targets.zeros(rows, length))
    return HeadPlan(model.head_name(layers, trained), of_head / of_stage if of_stage else None, ms)


def _bytes(flow: TensorSpec, length: int) -> int:
    """Of one sample."""
    return sum(array.nbytes for array in flow.zeros(1, length))
