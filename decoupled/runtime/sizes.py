"""Sizes: how large a run's messages and states can be, so that limits are checked before anything is sent or kept."""

from dataclasses import replace

from decoupled.errors import UsageError
from decoupled.nn.stage import Stage
from decoupled.runtime.assignment import assign
from decoupled.runtime.chunks import CHUNK_BYTES_MAX
from decoupled.runtime.resolve import ResolvedRun, training
from decoupled.tensors import Tensors

SMALL_BYTES = 1 << 16  # that every message's header, and all that is not an array of the run's own, fits into
TIMES = 6  # a state is larger than at first by two or three moments for each weight
OWN_TIMES = 48  # as much may be in the state of a stage with a head or an optimiser of the user's own


def message_bytes_needed(resolved: ResolvedRun) -> int:
    """The size of the largest message that this run cannot do without, in bytes.

    It is a batch between stages, where lengths that vary count as 1, the scaling, or what the last stage publishes.
    """
    dataset, model = resolved.dataset, resolved.model
    rows = min(resolved.run.batch, max(dataset.samples, dataset.test_samples))
    row = max(_bytes_of((model.flow(layers[0]) + resolved.targets).zeros(1)) for layers in resolved.stages)
    published = _made(resolved, len(resolved.stages) - 1).published()
    return max(rows * row, _bytes_of(resolved.scaling), _bytes_of(published)) + SMALL_BYTES


def _made(resolved: ResolvedRun, stage: int) -> Stage:
    """A stage as its worker makes it, but here on the host."""
    run, layers = resolved.run, resolved.stages[stage]
    trained = training(run, resolved.steps_total, assign(resolved, stage).has_head, stage)
    return resolved.model.stage(layers, replace(trained, devices="cpu"))


def _bytes_of(tensors: Tensors) -> int:
    return sum(array.nbytes for array in tensors)


def check_messages_fit(resolved: ResolvedRun) -> None:
    """Raises UsageError when link.message_bytes_max is too small for this run."""
    needed, allowed = message_bytes_needed(resolved), resolved.run.link.message_bytes_max
    if needed > allowed:
        raise UsageError(
            f"link.message_bytes_max is {allowed:,}, and the messages of this run need {needed:,}. "
            "Raise it, or choose a smaller batch."
        )


def state_bytes_max(resolved: ResolvedRun, stage: int) -> int:
    """A bound, generous rather than tight, on what a stage's state takes, in bytes; no worker has reason to send more.

    It is found by making the stage, as its worker does, with its head and what its optimiser begins with.
    """
    at_first = _bytes_of((*_made(resolved, stage).state_dict().values(),))
    trained = 2 * 8 * resolved.steps_total * (resolved.run.microbatches or 1)  # as ranges of one microbatch each
    return (OWN_TIMES if resolved.run.references else TIMES) * at_first + trained + CHUNK_BYTES_MAX
