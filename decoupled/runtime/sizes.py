"""Sizes: how large a run's messages and states can be, so that limits are checked before anything is sent or kept."""

from decoupled.errors import UsageError
from decoupled.nn.dense_model import DenseModel
from decoupled.runtime.assignment import assign
from decoupled.runtime.chunks import CHUNK_BYTES_MAX
from decoupled.runtime.resolve import ResolvedRun
from decoupled.tensors import Tensors

SMALL_BYTES = 1 << 16  # that every message's header, and all that is not an array of the run's own, fits into
FLOAT_BYTES = 8  # of the widest type in which a stage keeps its numbers
COPIES = 3  # of each weight in a state: itself and two moments
OWN_TIMES = 16  # as much may be in the state of a stage with a head or an optimiser of the user's own


def message_bytes_needed(resolved: ResolvedRun) -> int:
    """The size of the largest message that this run cannot do without, in bytes: a batch between stages, or the scaling."""
    dataset, stages = resolved.dataset, range(len(resolved.stages))
    rows = min(resolved.run.batch, max(dataset.samples, dataset.test_samples))
    row = max(_bytes_of((assign(resolved, stage).inputs + resolved.targets).zeros(1)) for stage in stages)
    return max(rows * row, _bytes_of(resolved.scaling)) + SMALL_BYTES


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
    """A bound, generous rather than tight, on what a stage's state takes, in bytes; no worker has reason to send more."""
    trained = 2 * 8 * resolved.steps_total * (resolved.run.microbatches or 1)  # as ranges of one microbatch each
    times = OWN_TIMES if resolved.run.references else 2
    return times * COPIES * FLOAT_BYTES * _numbers(resolved, stage) + trained + CHUNK_BYTES_MAX


def _numbers(resolved: ResolvedRun, stage: int) -> int:
    """How many a stage learns, with a head of decoupled's."""
    run, layers = resolved.run, resolved.stages[stage]
    if not isinstance(resolved.model, DenseModel):
        return sum(map(resolved.model.weights, layers))
    widths = resolved.architecture.widths
    weights = sum(resolved.model.weights(layer) + 8 * widths[layer + 1] for layer in layers) + 2 * widths[0]
    width = widths[layers[-1] + 1]
    return weights + 2 * (width + widths[-1]) * max(width, run.heads.width, run.heads.hidden)
