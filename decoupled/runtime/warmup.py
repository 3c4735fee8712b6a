"""The rehearsal: everything a stage does, once, on a twin that is thrown away, before the run begins.

It has the kernels compiled or fetched from their cache, and the libraries' buffers made, outside of what is timed.
"""

from itertools import product

import numpy as np

from decoupled.nn.parameters import Array
from decoupled.nn.stage import Stage
from decoupled.runtime.assignment import Assignment, make_stage

ROWS = 4


def warm_up(assignment: Assignment) -> None:
    """Takes a twin of the stage through every action, on arrays of every kind that may come over the wire or be its own."""
    architecture = assignment.architecture
    stage = make_stage(assignment)
    classes = architecture.loss == "softmax"
    targets = np.zeros(ROWS, np.int64) if classes else np.zeros((ROWS, architecture.widths[-1]), np.float32)
    width = architecture.widths[assignment.layers[0]]
    dtypes = ("uint8", "float32", architecture.dtype) if assignment.place.is_first else (architecture.dtype,)
    for dtype, is_received in product(dtypes, (True, False)):
        x = np.zeros((ROWS, width), dtype)
        x.flags.writeable = not is_received
        _train(stage, x, targets, is_received, assignment.place.is_last)


def _train(stage: Stage, x: Array, targets: Array, is_received: bool, is_last: bool) -> None:
    passed = stage.forward(x)
    stage.forward(x, training=False)
    gradient = np.zeros_like(passed.output)
    if is_last:
        gradient = stage.loss.value_and_gradient(passed.output, targets)[1]
    if stage.head is not None:
        gradient = stage.synthesize(passed, targets)
        returned = gradient.copy()
        returned.flags.writeable = False
        stage.refine(passed, targets, returned)
    gradient.flags.writeable = not is_received
    stage.backward(passed, gradient, want_dx=True)
    stage.update(ROWS)
