"""Warming up: everything a stage does, once, on a twin that is thrown away, before the run begins.

It has the kernels compiled or fetched from their cache, and the libraries' buffers made, outside of what is timed.
"""

import numpy as np

from decoupled import user_code
from decoupled.errors import DecoupledError, RunFailed
from decoupled.nn.metrics import measured
from decoupled.nn.stage import Stage
from decoupled.runtime.assignment import Assignment, make_stage
from decoupled.tensors import Tensors

ROWS, LENGTH = 4, 8


def warm_up(assignment: Assignment) -> None:
    """Takes a twin of the stage through every action, on arrays as they come over the wire and as it makes them itself.

    Raises RunFailed when it cannot, as a stage of a user's own may.
    """
    try:
        stage = make_stage(assignment)
        for is_received in (True, False):
            _train(stage, assignment, is_received)
    except DecoupledError:
        raise
    except Exception as error:
        raise RunFailed(f"Stage {assignment.place.stage} cannot train: {user_code.describe(error)}.") from error


def _train(stage: Stage, assignment: Assignment, is_received: bool) -> None:
    x, targets = (_as_received(spec.zeros(ROWS, LENGTH), is_received) for spec in (stage.inputs, assignment.targets))
    stage.forward(x, training=False)
    passed = stage.forward(x)
    if assignment.place.is_last:
        gradients = stage.loss(passed, targets).gradients
        measured(assignment.metrics, passed.outputs[0], targets[0])
    elif assignment.has_head:
        gradients = stage.synthesize(passed, targets)
        stage.refine(passed, targets, _as_received(tuple(one.copy() for one in gradients), True))
    else:
        gradients = tuple(np.zeros_like(array) for array in stage.outputs.differentiable(passed.outputs))
    stage.backward(passed, _as_received(gradients, is_received), want_dx=True)
    stage.step(ROWS)


def _as_received(tensors: Tensors, is_received: bool) -> Tensors:
    """Arrays that have come over the wire are read-only, and compiled code is compiled anew for those."""
    copies = tuple(np.array(array) for array in tensors)
    for array in copies:
        array.flags.writeable = not is_received
    return copies
