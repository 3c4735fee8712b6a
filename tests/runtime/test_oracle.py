"""The oracle test: with a head that returns the true gradient, dni is backprop, where one microbatch is done before the next."""

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.nn.dense import DenseStage
from decoupled.nn.parameters import Array
from decoupled.runtime.assignment import assign
from decoupled.runtime.resolve import resolve
from decoupled.runtime.single import train_single
from tests.datasets import blobs
from tests.pipeline import Pipeline
from tests.stages import dense_stage


class Oracle:
    """A head that knows the stages below and works out what backprop would send up."""

    def __init__(self, below: list[DenseStage]) -> None:
        self._below = below

    def synthesize(self, h: Array, targets: Array) -> Array:
        statistics = [{name: a.copy() for name, a in layer.state.items()} for s in self._below for layer in s.layers]
        passes, x = [], h
        for stage in self._below:
            passes.append(stage.forward((x,)))
            (x,) = passes[-1].outputs
        (gradient,) = self._below[-1].loss(passes[-1], (targets,)).gradients
        for stage, passed in zip(reversed(self._below), reversed(passes), strict=True):
            for layer, cache in zip(reversed(stage.layers), reversed(passed.saved.of_layers), strict=True):
                upward = layer.backward(gradient, cache, want_dx=True)  # the stage would take it for one of its own
                assert upward is not None
                gradient = upward
        for layer, kept in zip((layer for s in self._below for layer in s.layers), statistics, strict=True):
            for name, array in kept.items():
                layer.state[name][...] = array  # looking ahead leaves no trace
        return np.asarray(gradient)

    state: dict[str, Array] = {}

    @property
    def work(self) -> tuple[int, int]:
        return 0, 0

    def update(self, samples: int, decay: float) -> None:
        """Nothing to learn."""

    def refine(self, h: Array, targets: Array, gradient: Array, decay: float) -> Array:
        return gradient


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_dni_with_an_oracle_head_equals_backprop(activation: str, batch_norm: bool) -> None:
    network = {"activation": activation, "batch_norm": batch_norm, "dtype": "float64"}
    run = Run(hidden=(12, 10, 8), epochs=3, batch=20, network=network, feedback_every=1, dni={"feedback": "bootstrapped"})
    resolved = resolve(run, blobs())
    stages = [dense_stage(assign(resolved, stage)) for stage in range(4)]
    for i, stage in enumerate(stages[:-1]):
        stage.head = Oracle(stages[i + 1 :])
    pipeline = Pipeline(resolved, stages)

    pipeline.train()
    alone = train_single(resolve(run.model_copy(update={"schedule": "single"}), blobs()), lambda progress: None)

    decoupled = pipeline.model_state
    for name, array in alone.network.arrays.items():
        np.testing.assert_allclose(decoupled[name], array, rtol=0, atol=1e-10, err_msg=name)
    assert pipeline.updates == [30] * 4
