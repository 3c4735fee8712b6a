"""The same job in PyTorch: `python -m decoupled.bench.torch_peer`, a child process of the benchmark.

It reads one job, a JSON object, from standard input, trains, and prints one JSON object: how fast it was. The network, its
initial weights, the data, the order of the batches, the loss, the optimiser and the learning rate's decay are the run's own.
"""

import json
import multiprocessing
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from multiprocessing import connection
from operator import itemgetter
from time import perf_counter
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from decoupled.api import load_data
from decoupled.config import Run
from decoupled.data import batches
from decoupled.data.dataset import Array
from decoupled.errors import DecoupledError, RunFailed, UsageError
from decoupled.launch.plan import worker_environment
from decoupled.nn.layers import BatchNorm, Dense
from decoupled.nn.losses import LOSSES
from decoupled.nn.network import build_layer, partition
from decoupled.nn.optimisers import Adam, LearningRate
from decoupled.runtime.blueprint import Blueprint, draw
from decoupled.telemetry.counters import peak_rss_mb

LOOPBACK = "127.0.0.1"
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "identity": nn.Identity}
LOSS_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # each a sum over outputs and a mean over samples
    "softmax": functional.cross_entropy,
    "sigmoid": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="sum") / len(z),
    "squared": lambda z, y: functional.mse_loss(z, y, reduction="sum") / (2 * len(z)),
}


class Job(BaseModel):
    """What the benchmark asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Run
    kind: Literal["single", "gpipe", "1f1b"]
    threads: int = Field(ge=1)  # torch's, of each process
    fused: bool  # whether the optimiser is torch's fused one
    workers: int = Field(ge=1)  # of a pipeline
    microbatches: int = Field(ge=1)  # of a pipeline, in each minibatch
    updates_max: int | None = Field(ge=1)  # None: the whole run
    warm_up: int = Field(ge=0)  # updates before the time counts

    @property
    def is_pipeline(self) -> bool:
        return self.kind != "single"


@dataclass(slots=True)
class Trained:
    """What one process has done; the samples and seconds are those after the warm-up, without evaluations."""

    updates: int = 0
    samples: int = 0
    seconds: float = 0.0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    peak_rss_mb: float = 0.0


Learn = Callable[[Array], None]  # one update, with these rows of the training set


def perform(job: Job) -> dict[str, Any]:
    """Trains, and gives the result object. Raises UsageError or RunFailed."""
    blueprint = draw(job.run, load_data(job.run))
    _check(job, blueprint)
    parts = _conduct(job) if job.is_pipeline else [train_single(job, blueprint)]
    seconds = max(part.seconds for part in parts)
    return {
        "kind": job.kind,
        "samples_per_s": round(parts[0].samples / seconds, 1),
        "updates": parts[0].updates,
        "seconds": round(seconds, 4),
        "evaluations": parts[0].evaluations,
        "peak_rss_mb": round(max(part.peak_rss_mb for part in parts), 1),
        "threads": job.threads,
        "fused": job.fused,
        "workers": len(parts),
        "microbatches": job.microbatches if job.is_pipeline else 1,
        "torch": torch.__version__,
        "note": _note(job, blueprint),
    }


def _check(job: Job, blueprint: Blueprint) -> None:
    """Raises UsageError for what cannot be trained, or leaves nothing to measure."""
    if job.is_pipeline and job.run.batch % job.microbatches:
        raise UsageError(f"A batch of {job.run.batch} cannot be split into {job.microbatches} equal microbatches.")
    if job.is_pipeline and job.workers > blueprint.architecture.layers:
        raise UsageError(f"{job.workers} workers cannot share {blueprint.architecture.layers} layers.")
    if job.kind == "1f1b" and job.microbatches < job.workers:
        raise UsageError(f"1f1b needs a microbatch for each worker: {job.microbatches} are too few for {job.workers}.")
    if (updates := _updates(job, blueprint)) <= job.warm_up:
        raise UsageError(f"With {updates} updates and {job.warm_up} of them for warming up, none is left to measure.")


def _note(job: Job, blueprint: Blueprint) -> str:
    if not job.is_pipeline:
        return ""
    notes = ["not evaluated"]
    skipped = batches.count(len(blueprint.dataset.x_train), job.run.batch) - _epoch_updates(job, blueprint)
    if skipped:
        notes.append("the last minibatch of each epoch, of another size, is skipped because a pipeline's shapes are fixed")
    if job.run.network.batch_norm and job.microbatches > 1:
        notes.append("batch norm uses the statistics of each microbatch")
    return "; ".join(notes)


# Data, network and optimiser: the run's, as torch has them.


def network(blueprint: Blueprint, layers: tuple[int, ...]) -> nn.Sequential:
    """These layers of the network, with the run's initial weights."""
    return nn.Sequential(*(module for index in layers for module in _layer(blueprint, index)))


def _layer(blueprint: Blueprint, index: int) -> Iterator[nn.Module]:
    """Layer `index` as torch has it. Only the dense layer has initial values that are drawn."""
    architecture = blueprint.architecture
    hidden = index < architecture.layers - 1
    dense = build_layer(architecture, index, blueprint.run.seed)[0]
    assert isinstance(dense, Dense)
    yield _linear(dense)
    if hidden and architecture.batch_norm:
        features, dtype = architecture.widths[index + 1], _dtype(blueprint)
        yield nn.BatchNorm1d(features, eps=BatchNorm.EPSILON, momentum=BatchNorm.MOMENTUM, dtype=dtype)
    if hidden:
        yield ACTIVATIONS[architecture.activation]()


def _linear(dense: Dense) -> nn.Linear:
    """The dense layer as torch has it: our weights are D x H, torch's H x D."""
    linear = nn.Linear(*dense.weight.value.shape, bias=dense.bias is not None)
    linear.weight = nn.Parameter(torch.tensor(dense.weight.value.T))
    if dense.bias is not None:
        linear.bias = nn.Parameter(torch.tensor(dense.bias.value))
    return linear


def _dtype(blueprint: Blueprint) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[blueprint.architecture.dtype]


class Inputs:
    """Rows of the inputs, standardised.

    They stay as they are stored, bytes mostly, and each batch is converted on its own: with MNIST that takes torch 56 us, and
    53 us if all are converted beforehand, which would need four times the memory.
    """

    def __init__(self, blueprint: Blueprint, x: Array) -> None:
        self._x = torch.tensor(x)  # a copy, since arrays from files may be read-only
        self._mean, self._deviation = (
            torch.from_numpy(scale.astype(blueprint.architecture.dtype)) for scale in blueprint.dataset.scaling
        )

    def __getitem__(self, rows: Array) -> Tensor:
        x = self._x.index_select(0, torch.from_numpy(rows))
        return x.to(self._mean.dtype).sub_(self._mean).div_(self._deviation)


def _targets(blueprint: Blueprint, y: Array) -> Tensor:
    """Targets as torch's losses want them."""
    return torch.from_numpy(y).to(torch.int64 if blueprint.architecture.loss == "softmax" else _dtype(blueprint))


class Optimiser:
    """The run's optimiser and its learning rate, which decays from update to update."""

    def __init__(self, job: Job, blueprint: Blueprint, model: nn.Module) -> None:
        run = blueprint.run
        self._rate = LearningRate(run.optimiser.decay, blueprint.steps_total)
        self._lr, self._steps = run.lr, 0
        self._inner: torch.optim.Optimizer = (
            torch.optim.Adam(model.parameters(), run.lr, (Adam.BETA1, Adam.BETA2), Adam.EPSILON, fused=job.fused)
            if run.optimiser.name == "adam"
            else torch.optim.SGD(model.parameters(), run.lr, run.optimiser.momentum, fused=job.fused)
        )

    def step(self) -> None:
        """One update with the gradients there are, which are then forgotten."""
        for group in self._inner.param_groups:
            group["lr"] = self._lr * self._rate.factor(self._steps)
        self._inner.step()
        self._inner.zero_grad()
        self._steps += 1


# The loop, which all kinds share.


def _minibatches(job: Job, blueprint: Blueprint) -> Iterator[tuple[int, Array]]:
    """Each update's epoch and rows, in the run's order."""
    run, samples = blueprint.run, len(blueprint.dataset.x_train)
    for epoch in range(1, run.epochs + 1):
        for rows in batches.shuffled(samples, run.batch, run.seed, epoch):
            if not job.is_pipeline or len(rows) == run.batch:
                yield epoch, rows


def _epoch_updates(job: Job, blueprint: Blueprint) -> int:
    bounds = batches.bounds(len(blueprint.dataset.x_train), job.run.batch)
    return sum(not job.is_pipeline or stop - start == job.run.batch for start, stop in bounds)


def _updates(job: Job, blueprint: Blueprint) -> int:
    """How many updates the job makes."""
    updates = job.run.epochs * _epoch_updates(job, blueprint)
    return min(updates, job.updates_max or updates)


def _drive(job: Job, blueprint: Blueprint, learn: Learn, evaluate: Callable[[], dict[str, Any]] | None) -> Trained:
    """Makes every update of the job and evaluates when the run says so, with an eye on the clock."""
    trained, every, total = Trained(), job.run.runtime.evaluate_every, _updates(job, blueprint)
    for epoch, minibatches in groupby(islice(_minibatches(job, blueprint), total), key=itemgetter(0)):
        since = perf_counter()
        for _, rows in minibatches:
            learn(rows)
            trained.updates += 1
            if trained.updates == job.warm_up:
                since = perf_counter()
            elif trained.updates > job.warm_up:
                trained.samples += len(rows)
        if trained.updates > job.warm_up:
            trained.seconds += perf_counter() - since
        if evaluate and (trained.updates == total or (every and epoch % every == 0)):
            trained.evaluations.append({"epoch": epoch} | evaluate())
    trained.peak_rss_mb = peak_rss_mb()
    return trained


# single: one process.


def train_single(job: Job, blueprint: Blueprint) -> Trained:
    """Trains the whole network in this process."""
    torch.set_num_threads(job.threads)
    model = network(blueprint, tuple(range(blueprint.architecture.layers)))
    optimiser, loss = Optimiser(job, blueprint, model), LOSS_FUNCTIONS[blueprint.architecture.loss]
    x, y = Inputs(blueprint, blueprint.dataset.x_train), _targets(blueprint, blueprint.dataset.y_train)

    def learn(rows: Array) -> None:
        loss(model(x[rows]), y[torch.from_numpy(rows)]).backward()
        optimiser.step()

    return _drive(job, blueprint, learn, lambda: _evaluate(blueprint, model))


def _evaluate(blueprint: Blueprint, model: nn.Module) -> dict[str, Any]:
    """The whole test set's mean loss and accuracy; what counts as right is judged as for our own network."""
    dataset, name = blueprint.dataset, blueprint.architecture.loss
    x, y = Inputs(blueprint, dataset.x_test), _targets(blueprint, dataset.y_test)
    model.eval()
    with torch.inference_mode():
        outputs = torch.cat([model(x[rows]) for rows in batches.in_order(len(dataset.x_test), blueprint.run.batch)])
    model.train()
    correct = LOSSES[name]().correct(outputs.numpy(), dataset.y_test)
    return {
        "loss": LOSS_FUNCTIONS[name](outputs, y).item(),
        "accuracy": None if correct is None else correct / len(outputs),
    }


# gpipe and 1f1b: a process for each stage.


def _conduct(job: Job) -> list[Trained]:
    """Trains in a process for each stage. Raises RunFailed when one of them fails; none is left behind."""
    os.environ.update(worker_environment(os.environ, job.threads))
    context, store = multiprocessing.get_context("spawn"), _serve()
    receivers, processes = [], []
    try:
        for stage in range(job.workers):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, stage, store.port, sender), daemon=True)
            process.start()
            sender.close()  # the process has its own; with this one open its death would go unnoticed
            receivers.append(receiver)
            processes.append(process)
        return _collect(receivers)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _serve() -> torch.distributed.TCPStore:
    """Where the stages find one another: a free port, on loopback alone, which TCPStore would not keep to by itself."""
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    return torch.distributed.TCPStore(LOOPBACK, port, is_master=True, master_listen_fd=listener.detach(), wait_for_workers=False)


def _collect(receivers: list[connection.Connection]) -> list[Trained]:
    """Each stage's answer, in order; the first that is no answer ends the wait."""
    answers: dict[int, Trained] = {}
    while len(answers) < len(receivers):
        for ready in connection.wait([r for stage, r in enumerate(receivers) if stage not in answers]):
            stage = receivers.index(ready)  # type: ignore[arg-type]
            try:
                answer = receivers[stage].recv()
            except EOFError:
                raise RunFailed(f"The process of stage {stage} died.") from None
            if not isinstance(answer, Trained):
                raise RunFailed(f"Stage {stage} cannot go on: {answer}")
            answers[stage] = answer
    return [answers[stage] for stage in range(len(receivers))]


def _work(job: Job, stage: int, port: int, sender: connection.Connection) -> None:
    """One stage's process, from its start to its end."""
    _end_with_parent()
    try:
        sender.send(train_stage(job, stage, port))
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """Ends this process as soon as its parent has ended, in whatever way, even while torch waits for another stage."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def train_stage(job: Job, stage: int, port: int) -> Trained:
    """Trains one stage of the pipeline in this process, together with those of the other stages."""
    from torch.distributed import pipelining  # here, because it costs a second and 75 MB that single does without

    torch.set_num_threads(job.threads)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = torch.distributed.TCPStore(LOOPBACK, port)
    torch.distributed.init_process_group("gloo", store=store, rank=stage, world_size=job.workers)
    blueprint = draw(job.run, load_data(job.run))
    layers = partition(blueprint.architecture, job.workers)[stage]
    model = network(blueprint, layers)
    kind = pipelining.ScheduleGPipe if job.kind == "gpipe" else pipelining.Schedule1F1B
    place = pipelining.PipelineStage(model, stage, job.workers, torch.device("cpu"), *_shapes(job, blueprint, layers))
    schedule = kind(place, job.microbatches, LOSS_FUNCTIONS[blueprint.architecture.loss])
    optimiser = Optimiser(job, blueprint, model)
    x = Inputs(blueprint, blueprint.dataset.x_train) if place.is_first else None
    y = _targets(blueprint, blueprint.dataset.y_train) if place.is_last else None

    def learn(rows: Array) -> None:
        inputs = () if x is None else (x[rows],)
        targets = {} if y is None else {"target": y[torch.from_numpy(rows)]}
        schedule.step(*inputs, **targets, return_outputs=False)
        optimiser.step()

    return _drive(job, blueprint, learn, evaluate=None)


def _shapes(job: Job, blueprint: Blueprint, layers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A microbatch of the stage's inputs and one of its outputs, so that the stages need not ask one another."""
    rows, widths = job.run.batch // job.microbatches, blueprint.architecture.widths
    dtype = _dtype(blueprint)
    inputs = torch.empty(rows, widths[layers[0]], dtype=dtype, requires_grad=layers[0] > 0)
    outputs = torch.empty(rows, widths[layers[-1] + 1], dtype=dtype, requires_grad=True)
    return inputs, outputs


# The command.


def main() -> None:
    """Reads a job, performs it, prints the result; when it cannot, one sentence on standard error."""
    sys.stdout.flush()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # gloo prints to standard output, which is the result's alone
    try:
        result = perform(_read())
    except DecoupledError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except Exception as error:
        sys.exit(_fail(f"torch cannot train this: {type(error).__name__}: {error}", 1))
    print(json.dumps(result), file=out, flush=True)


def _read() -> Job:
    try:
        return Job.model_validate_json(sys.stdin.buffer.read())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"This is no job: {where + ': ' if where else ''}{first['msg']}.") from None


def _fail(sentence: str, code: int) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
