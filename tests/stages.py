"""Stages of the fully connected network, for tests that look into them."""

from decoupled.nn.dense import DenseStage
from decoupled.runtime.assignment import Assignment, make_stage


def dense_stage(assignment: Assignment) -> DenseStage:
    stage = make_stage(assignment)
    assert isinstance(stage, DenseStage)
    return stage
