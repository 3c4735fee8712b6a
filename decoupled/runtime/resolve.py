"""A resolved run: what a run comes to once its data is known. All choices left open are made here, once."""

from dataclasses import dataclass

from decoupled.config import PIPELINES, Run
from decoupled.data import batches
from decoupled.data.dataset import Dataset
from decoupled.errors import UsageError
from decoupled.nn.network import Architecture, partition


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedRun:
    """The run with every value decided, its data, its network, and which stage has which layers."""

    run: Run
    dataset: Dataset
    architecture: Architecture
    stages: tuple[tuple[int, ...], ...]

    @property
    def steps_total(self) -> int:
        """Updates that each stage will make."""
        return self.run.epochs * batches.count(len(self.dataset.x_train), self.run.batch)


def resolve(run: Run, dataset: Dataset) -> ResolvedRun:
    """Decides what the run left open. Raises UsageError when the loss does not fit the targets."""
    run = _decided(run, dataset)
    assert run.network.loss is not None
    widths = (dataset.inputs, *run.hidden, dataset.outputs)
    architecture = Architecture(widths, run.network.activation, run.network.batch_norm, run.network.loss, run.network.dtype)
    return ResolvedRun(run, dataset, architecture, _stages(run, architecture))


def suits(loss: str, dataset: Dataset) -> None:
    """Raises UsageError unless the loss fits the targets: their own, or the squared error of bits."""
    if loss != dataset.loss and (loss, dataset.loss) != ("squared", "sigmoid"):
        raise UsageError(f"The loss {loss} does not fit the targets of {dataset.name}, which suit {dataset.loss}.")


def _decided(run: Run, dataset: Dataset) -> Run:
    loss = run.network.loss or dataset.loss
    suits(loss, dataset)
    # A readout learns by its own loss and needs few gradients back; the other heads learn from nothing else.
    is_readout = run.head == "readout"
    feedback = run.dni.feedback or ("chained" if is_readout else "bootstrapped")
    return run.model_copy(
        update={
            "network": run.network.model_copy(update={"loss": loss}),
            "heads": run.heads.model_copy(update={"lr": run.heads.lr or run.lr}),
            "dni": run.dni.model_copy(update={"feedback": feedback}),
            "microbatches": run.microbatches or (min(4, max(run.batch // 2, 1)) if run.schedule in PIPELINES else 1),
            "feedback_every": run.feedback_every or (4 if is_readout else 1),
        }
    )


def _stages(run: Run, architecture: Architecture) -> tuple[tuple[int, ...], ...]:
    if run.schedule == "single":
        return (tuple(range(architecture.layers)),)
    return run.stages or partition(architecture, run.workers or architecture.layers)
