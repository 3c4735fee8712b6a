"""Sizes: how large a run's messages and states can be, so that limits are checked before anything is sent or kept."""

import numpy as np

from decoupled.errors import UsageError
from decoupled.runtime.chunks import CHUNK_BYTES_MAX
from decoupled.runtime.resolve import ResolvedRun

SMALL_BYTES = 1 << 16  # that every message's header, and all that is not an array of the run's own, fits into
FLOAT_BYTES = 8  # of the widest type in which a stage keeps its numbers
COPIES = 3  # of each weight in a state: itself and two moments


def message_bytes_needed(resolved: ResolvedRun) -> int:
    """The size of the largest message that this run cannot do without, in bytes: a batch between stages, or the scaling."""
    run, dataset, architecture = resolved.run, resolved.dataset, resolved.architecture
    rows = min(run.batch, max(dataset.samples, dataset.test_samples))
    item = [sum(array.nbytes for array in spec.zeros(1)) for spec in (resolved.inputs, resolved.targets)]
    hidden = max(architecture.widths[1:-1], default=0) * np.dtype(architecture.dtype).itemsize
    scaling = sum(array.nbytes for array in dataset.scaling)
    return max(rows * (max(item[0], hidden) + item[1]), scaling) + SMALL_BYTES


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
    run, architecture, layers = resolved.run, resolved.architecture, resolved.stages[stage]
    widths = architecture.widths
    weights = sum(architecture.weights(layer) + 8 * widths[layer + 1] for layer in layers) + 2 * widths[0]
    width = widths[layers[-1] + 1]
    head = 2 * (width + widths[-1]) * max(width, run.heads.width, run.heads.hidden)
    trained = 2 * 8 * resolved.steps_total * (run.microbatches or 1)  # as ranges of one microbatch each
    return 2 * COPIES * FLOAT_BYTES * (weights + head) + trained + CHUNK_BYTES_MAX
