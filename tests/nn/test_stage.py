"""A stage: gradients of several backward passes add up, and each update starts anew."""

import numpy as np
import pytest

from decoupled.nn.layers import Dense, Layer, Tanh
from decoupled.nn.losses import SoftmaxCrossEntropy
from decoupled.nn.optimisers import SGD, LearningRate
from decoupled.nn.parameters import Array
from decoupled.nn.stage import Stage

B, D, C = 24, 6, 3


def a_stage() -> Stage:
    rng = np.random.default_rng(0)
    first = Dense("layer0", rng.standard_normal((D, 8)), rng.standard_normal(8))
    second = Dense("layer1", rng.standard_normal((8, C)), rng.standard_normal(C))
    layers: list[Layer] = [first, Tanh(), second]
    return Stage(layers, SGD(momentum=0.9), 0.1, LearningRate("constant", 1), SoftmaxCrossEntropy())


def a_batch(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((B, D)), rng.integers(0, C, B)


def train(stage: Stage, x: Array, y: Array, parts: int) -> None:
    """One update from so many parts, all of which go forward before any comes back."""
    passes = [(stage.forward(part), targets) for part, targets in zip(np.split(x, parts), np.split(y, parts), strict=True)]
    for passed, targets in passes:
        stage.backward(passed, stage.loss.value_and_gradient(passed.output, targets)[1], want_dx=False)
    stage.update(len(x))


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_backward_passes_of_the_parts_of_a_batch_make_the_update_of_the_whole(parts: int) -> None:
    whole, cut = a_stage(), a_stage()

    for seed in range(3):  # each update starts anew
        train(whole, *a_batch(seed), parts=1)
        train(cut, *a_batch(seed), parts=parts)

    for name, array in whole.arrays().items():
        np.testing.assert_allclose(cut.arrays()[name], array, rtol=0, atol=1e-12, err_msg=name)
    assert cut.weight_version == 3


def test_parts_of_one_update_leave_nothing_for_the_next() -> None:
    alone, after = a_stage(), a_stage()
    x, y = a_batch(0)
    train(after, x, y, parts=4)
    kept = after.arrays()
    for stage in (alone, after):
        for layer in stage.layers:
            for parameter in layer.parameters:
                parameter.value[...] = kept[parameter.name]
        stage._optimiser = SGD()

    for stage in (alone, after):
        train(stage, *a_batch(1), parts=1)

    assert all((after.arrays()[name] == array).all() for name, array in alone.arrays().items())


@pytest.mark.parametrize("parts", [2, 3])
def test_each_part_gets_its_own_input_gradient(parts: int) -> None:
    """What is set aside are the parameters' gradients alone."""
    stage, (x, y) = a_stage(), a_batch(0)
    whole = stage.forward(x)
    expected = stage.backward(whole, stage.loss.value_and_gradient(whole.output, y)[1], want_dx=True)

    found = []
    for part, targets in zip(np.split(x, parts), np.split(y, parts), strict=True):
        passed = stage.forward(part)
        found.append(stage.backward(passed, stage.loss.value_and_gradient(passed.output, targets)[1], want_dx=True))

    assert expected is not None
    np.testing.assert_allclose(np.concatenate([dx for dx in found if dx is not None]), expected, rtol=0, atol=1e-12)
