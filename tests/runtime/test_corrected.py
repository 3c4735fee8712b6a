"""Corrected feedback at one stage: a guess and its correction come to what the true gradient alone would have done."""

import numpy as np
import pytest

from decoupled.runtime.assignment import assign
from decoupled.runtime.executor import UPSTREAM, StageExecutor
from decoupled.runtime.records import Record
from decoupled.runtime.resolve import resolve
from decoupled.schedules.actions import Backward, Evict, Forward, Refine, Source, Update
from decoupled.telemetry.counters import Counters
from decoupled.tensors import Array
from tests.datasets import blobs
from tests.runtime.small_runs import a_run
from tests.stages import dense_stage

ROWS = 10


def middle() -> StageExecutor:
    """The stage between two others, with a microbatch on which it has gone forward. Its weights do not move."""
    run = a_run(network={"dtype": "float64"}, optimiser={"name": "sgd"}, lr=1e-300, dni={"feedback": "corrected"})
    assignment = assign(resolve(run, blobs(train=60, test=20)), 1)
    executor = StageExecutor(dense_stage(assignment), assignment.place, Counters(1))
    x = np.random.default_rng(0).standard_normal((ROWS, 8))
    executor.records[0] = Record(x=(x,), targets=(np.arange(ROWS) % 3,))
    executor.perform(Forward(0, wants_gradient=True))
    return executor


def returned() -> Array:
    return np.random.default_rng(1).standard_normal((ROWS, 8))


@pytest.mark.parametrize("is_true", [True, False])
def test_what_goes_up_is_the_whole_gradient_and_it_is_counted_once(is_true: bool) -> None:
    """Also where the returned gradient follows from a guess further down: then it is told, and is no truth."""
    at_once, corrected = middle(), middle()
    at_once.accept_gradients(0, (returned(),))
    ((_, expected),) = at_once.perform(Backward(0, Source.TRUE, send=True))

    assert corrected.perform(Backward(0, Source.TENTATIVE, send=True, keep=True)) == []
    corrected.perform(Update())
    corrected.accept_gradients(0, (returned(),), is_true)
    ((where, found),) = corrected.perform(Backward(0, Source.CORRECTION, send=True, keep=True))
    corrected.perform(Refine(0))

    assert where == UPSTREAM
    np.testing.assert_allclose(found.tensors[0], expected.tensors[0], rtol=0, atol=1e-12)
    assert found.body["is_true"] is is_true
    counters = corrected.counters
    assert (counters.samples, counters.true_gradients, counters.truth.value) == (ROWS, is_true, float(is_true))
    assert not corrected.records


def test_a_guess_that_is_never_corrected_stays_one() -> None:
    executor = middle()
    for action in (Backward(0, Source.TENTATIVE, send=True, keep=True), Update(), Evict(0)):
        assert executor.perform(action) == []

    assert (executor.counters.samples, executor.counters.true_gradients, executor.counters.truth.value) == (ROWS, 0, 0.0)
    assert not executor.records
