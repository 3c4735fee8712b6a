"""A resolved run: what a run comes to once its data is known. All choices left open are made here, once."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from decoupled import user_code
from decoupled.config import OF_ROWS, PIPELINES, WITH_MOMENTUM, Run
from decoupled.data import batches
from decoupled.data.dataset import are_whole, as_rows, as_tokens, rows_of, scaling_of_rows
from decoupled.data.source import DataSource
from decoupled.errors import UsageError
from decoupled.nn.catalogue import IMITATORS, MODELS
from decoupled.nn.dense_model import DenseModel
from decoupled.nn.metrics import load_metrics
from decoupled.nn.model import Model, ModelSite, Training
from decoupled.nn.network import Architecture
from decoupled.nn.partition import Work, partition
from decoupled.nn.recipe import Recipe
from decoupled.nn.scores import Tally
from decoupled.nn.stage import Weights
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL, REGRESSION
from decoupled.runtime.feed import Feed
from decoupled.runtime.timing import measure
from decoupled.schedules.catalogue import SCHEDULES, STALE, is_decoupled
from decoupled.tensors import Array, ArraySpec, TensorSpec

AS_THEY_ARE = np.empty(0, np.float32), np.empty(0, np.float32)  # inputs that are not scaled, such as tokens
WORKERS_USUAL = 4  # at most, of a model that is not asked for more: each is a process, with a copy of the libraries


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedRun:
    """The run with every value decided, its data, its network, and which stage has which layers."""

    run: Run
    dataset: DataSource
    model: Model
    stages: tuple[tuple[int, ...], ...] = ()
    work: Work | None = None  # of the layers, where the cut into stages depended on it

    @property
    def steps_total(self) -> int:
        """Updates that each stage will make."""
        return self.run.epochs * batches.count(self.dataset.samples, self.run.batch)

    @property
    def architecture(self) -> Architecture:
        """That of the fully connected network. Raises UsageError for another model."""
        if not isinstance(self.model, DenseModel):
            raise UsageError(f"This is known of fully connected networks only, and not of {self.run.model}.")
        return self.model.architecture

    @property
    def inputs(self) -> TensorSpec:
        """What enters the first stage."""
        return self.model.flow(0)

    @property
    def targets(self) -> TensorSpec:
        return TensorSpec((self.dataset.y,))

    def require_devices(self) -> None:
        """Raises UsageError when a stage is to be on a device that this machine does not have."""
        if "cuda" in self.run.runtime.device:
            from decoupled.pytorch.devices import require  # here, because nothing else needs PyTorch

            require(self.run.runtime.device, len(self.stages))

    @property
    def scaling(self) -> tuple[Array, Array]:
        """Mean and deviation of what enters the first stage."""
        return _inputs(self.run, self.dataset)[1]

    def tally(self) -> Tally:
        """What adds up an evaluation. Raises UsageError where one of the run's metrics cannot be had."""
        return Tally.of(self.dataset.targets, self.dataset.outputs, self.run.network.loss, self.run.metrics)

    @property
    def feed(self) -> Feed:
        """All that enters the first stage."""
        run = self.run
        prepare = as_rows if run.model in OF_ROWS else as_tokens
        return Feed(
            self.dataset, run.batch, run.epochs, run.seed, run.runtime.evaluate_every, run.microbatches or 1, prepare=prepare
        )


def resolve(run: Run, dataset: DataSource) -> ResolvedRun:
    """Decides what the run left open. Raises UsageError when the task or the loss does not fit the targets.

    It is raised as well for a metric that is not there.
    """
    run = _decided(run, dataset)
    SCHEDULES.fitting(run.schedule, 1, run.args.schedule)
    load_metrics(run.metrics)
    inputs, scaling = _inputs(run, dataset)
    model = build_model(run, TensorSpec((inputs,)), TensorSpec((dataset.y,)), dataset.outputs, scaling)
    resolved = _cut(ResolvedRun(run, dataset, model))
    model.check(training(run, 1, is_decoupled(run.schedule)), resolved.stages)
    return resolved


def _inputs(run: Run, dataset: DataSource) -> tuple[ArraySpec, tuple[Array, Array]]:
    """What enters the first stage, and its scaling.

    Fully connected networks take samples as rows. To others whole numbers may be tokens, which are not scaled.
    """
    if run.model in OF_ROWS:
        if dataset.targets.are_tokens:
            raise UsageError(
                f"{run.model} gives one answer a sample, and not one at every position. "
                "Choose a model such as gpt, or say what the targets are: --task regression."
            )
        return rows_of(dataset.x), scaling_of_rows(dataset.x, dataset.scaling)
    if are_whole(np.dtype(dataset.x.dtype)):
        return replace(dataset.x, dtype="int64"), AS_THEY_ARE
    return dataset.x, dataset.scaling


def build_model(run: Run, inputs: TensorSpec, targets: TensorSpec, outputs: int, scaling: tuple[Array, Array]) -> Model:
    """The run's network for such data. Raises ValueError when they cannot be its own, and UsageError for a user's model."""
    assert run.network.loss is not None
    site = ModelSite(inputs, targets, outputs, scaling, run.network.loss, run.seed)
    if run.model == "mlp":
        of_loss = {"activation_args": run.args.activation, "loss_args": run.args.loss}
        described = run.network.model_dump(exclude={"loss"})
        dense: Model = MODELS.make(run.model, site, options={"hidden": run.hidden, **described, **of_loss})
        return dense
    options = run.args.model
    if run.model == "torch-mlp":
        network = run.network
        options = {"hidden": run.hidden, "activation": network.activation, "batch_norm": network.batch_norm} | options
    recipe = Recipe(run.model, options, site, run.network.dtype, run.args.loss)
    made = recipe.make()
    if hasattr(made, "stage") and hasattr(made, "flow"):
        own: Model = made
        return own
    from decoupled.pytorch.model import TorchModel  # here, because nothing else needs PyTorch

    return TorchModel(recipe, made)


def _weights(run: Run) -> Weights | None:
    """Those that a late pass goes back with, where the run or its schedule says so."""
    said = "at-forward" if run.schedule in STALE else run.dni.late_weights
    return None if said is None else Weights(said)


def training(run: Run, steps_total: int, has_head: bool, stage: int = 0) -> Training:
    """How a stage of the run is trained."""
    args, of_optimiser = run.args, dict[str, Any]()
    if run.optimiser.name in WITH_MOMENTUM:
        of_optimiser["momentum"] = run.optimiser.momentum
    if run.optimiser.weight_decay is not None:
        of_optimiser["weight_decay"] = run.optimiser.weight_decay
    of_head: dict[str, Any] = {"mlp-label": {"hidden": run.heads.hidden}}.get(run.head, {})
    if run.head == "readout":
        of_head = {"width": run.heads.width, "feedback_weight": run.heads.feedback_weight}
    return Training(
        seed=run.seed,
        rate=run.lr,
        decay=run.optimiser.decay,
        steps_total=steps_total,
        optimiser=run.optimiser.name,
        weights=_weights(run),
        optimiser_args=of_optimiser | args.optimiser,
        head=run.head if has_head else None,
        heads_before=run.head if is_decoupled(run.schedule) and not has_head else None,
        head_rate=run.heads.lr or run.lr,
        head_args=of_head | args.head,
        task=run.task or CLASSIFICATION,
        warm_up=run.optimiser.warm_up,
        clip=run.optimiser.clip,
        devices=run.runtime.device,
        stage=stage,
    )


LOSSES_FOR = {CLASSIFICATION: ("softmax",), MULTILABEL: ("sigmoid", "squared"), REGRESSION: ("squared",)}  # the usual one first


def _loss(run: Run, dataset: DataSource) -> str:
    """The run's loss, or the usual one for the task. Raises UsageError unless it fits the task, and the task the targets."""
    task = dataset.targets.task
    if run.task not in (None, task):
        raise UsageError(f"The targets of {dataset.name} are for {task}, not {run.task}. Leave the task out.")
    loss = run.network.loss or LOSSES_FOR[task][0]
    if loss not in LOSSES_FOR[task] and not user_code.is_reference(loss):
        guess = "" if run.task else " Say --task where that is not what they are for."
        raise UsageError(f"The loss {loss} does not fit the targets of {dataset.name}, which are for {task}.{guess}")
    return loss


def _decided(run: Run, dataset: DataSource) -> Run:
    loss = _loss(run, dataset)
    # A readout learns by its own loss and needs few gradients back; the other heads learn from nothing else.
    head = "readout" if run.head == "auto" and run.model == "mlp" else run.head
    is_readout = head not in IMITATORS
    feedback = run.dni.feedback or ("chained" if is_readout else "bootstrapped")
    return run.model_copy(
        update={
            "task": dataset.targets.task,
            "head": head,
            "network": run.network.model_copy(update={"loss": loss}),
            "heads": run.heads.model_copy(update={"lr": run.heads.lr or run.lr}),
            "dni": run.dni.model_copy(update={"feedback": feedback}),
            "microbatches": run.microbatches or (min(4, max(run.batch // 2, 1)) if run.schedule in PIPELINES else 1),
            "feedback_every": run.feedback_every or (4 if is_readout else 1),
        }
    )


def _cut(resolved: ResolvedRun) -> ResolvedRun:
    """The same with its stages. A cut by measured times is written into the run, so that it is made once.

    Raises UsageError when the run's own stages do not hold every layer in order, or something is to happen to one that is
    not there.
    """
    run, layers = resolved.run, range(resolved.model.layers)
    own = None if run.schedule == "single" else run.stages
    if own is not None and ([layer for stage in own for layer in stage] != list(layers) or not all(own)):
        raise UsageError(f"Stages must hold the layers 0 to {layers[-1]} of {run.model} in order, each once; none may be empty.")
    workers = _workers(run, len(layers))
    try:
        run.refuse_missing_stages(workers)
        if own is not None or workers in (1, len(layers)):
            return replace(resolved, stages=own or tuple(tuple(layers[at::workers]) for at in range(workers)))
        work = work_of(resolved)
        stages = partition(work, workers)
    except ValueError as error:
        raise UsageError(f"{str(error)[0].upper()}{str(error)[1:].rstrip('.')}.") from None
    if work.unit == "ms":
        run = run.model_copy(update={"stages": stages})
    return replace(resolved, run=run, stages=stages, work=work)


def _workers(run: Run, layers: int) -> int:
    """How many stages there are. Raises UsageError when the run says two numbers."""
    if run.schedule == "single":
        return 1
    if run.stages is None:
        return run.workers or (layers if run.model == "mlp" else min(layers, WORKERS_USUAL))
    if run.workers not in (None, len(run.stages)):
        raise UsageError(f"There are {len(run.stages)} stages but {run.workers} workers. Leave one of the two out.")
    return len(run.stages)


def work_of(resolved: ResolvedRun) -> Work:
    """What the layers compute for one microbatch of the run: as it was found for the cut, or else counted or measured now."""
    if resolved.work is not None:
        return resolved.work
    first = next(resolved.feed.items()).x
    counted = resolved.model.work(len(first))
    if counted is not None:
        return counted
    devices = "cpu" if resolved.run.runtime.device == "cpu" else "auto"  # those that it names may be other hosts'
    return measure(resolved.model, replace(training(resolved.run, 1, False), devices=devices), (first,))
