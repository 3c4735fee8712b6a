"""A stage: gradients of several backward passes add up, and each update starts anew."""

from typing import Any

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.nn.dense import DenseStage
from decoupled.nn.layers import Dense, Layer, Tanh
from decoupled.nn.losses import SoftmaxCrossEntropy
from decoupled.nn.optimisers import SGD, LearningRate
from decoupled.nn.parameters import Array
from decoupled.nn.stage import Weights
from decoupled.runtime.assignment import assign
from decoupled.runtime.resolve import resolve
from decoupled.tensors import TensorSpec
from tests.datasets import blobs
from tests.stages import dense_stage

B, D, C = 24, 6, 3


def a_stage(weights: Weights = Weights.CURRENT) -> DenseStage:
    rng = np.random.default_rng(0)
    first = Dense("layer0", rng.standard_normal((D, 8)), rng.standard_normal(8))
    second = Dense("layer1", rng.standard_normal((8, C)), rng.standard_normal(C))
    layers: list[Layer] = [first, Tanh(), second]
    inputs, outputs, constant = TensorSpec.of("float64", D), TensorSpec.of("float64", C), LearningRate("constant", 1)
    return DenseStage(inputs, outputs, layers, SGD(momentum=0.9), 0.1, constant, SoftmaxCrossEntropy(), weights=weights)


def a_batch(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((B, D)), rng.integers(0, C, B)


def train(stage: DenseStage, x: Array, y: Array, parts: int) -> None:
    """One update from so many parts, all of which go forward before any comes back."""
    passes = [(stage.forward((part,)), (targets,)) for part, targets in zip(np.split(x, parts), np.split(y, parts), strict=True)]
    for passed, targets in passes:
        stage.backward(passed, stage.loss(passed, targets).gradients, want_dx=False)
    stage.step(len(x))


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_backward_passes_of_the_parts_of_a_batch_make_the_update_of_the_whole(parts: int) -> None:
    whole, cut = a_stage(), a_stage()

    for seed in range(3):  # each update starts anew
        train(whole, *a_batch(seed), parts=1)
        train(cut, *a_batch(seed), parts=parts)

    for name, array in whole.model_state().items():
        np.testing.assert_allclose(cut.model_state()[name], array, rtol=0, atol=1e-12, err_msg=name)
    assert cut.version == 3


def test_parts_of_one_update_leave_nothing_for_the_next() -> None:
    alone, after = a_stage(), a_stage()
    x, y = a_batch(0)
    train(after, x, y, parts=4)
    kept = after.model_state()
    for stage in (alone, after):
        for layer in stage.layers:
            for parameter in layer.parameters:
                parameter.value[...] = kept[parameter.name]
        stage._optimiser = SGD()

    for stage in (alone, after):
        train(stage, *a_batch(1), parts=1)

    assert all((after.model_state()[name] == array).all() for name, array in alone.model_state().items())


@pytest.mark.parametrize("parts", [2, 3])
def test_each_part_gets_its_own_input_gradient(parts: int) -> None:
    """What is set aside are the parameters' gradients alone."""
    stage, (x, y) = a_stage(), a_batch(0)
    whole = stage.forward((x,))
    expected = stage.backward(whole, stage.loss(whole, (y,)).gradients, want_dx=True)

    found = []
    for part, targets in zip(np.split(x, parts), np.split(y, parts), strict=True):
        passed = stage.forward((part,))
        found.append(stage.backward(passed, stage.loss(passed, (targets,)).gradients, want_dx=True))

    assert expected is not None
    np.testing.assert_allclose(np.concatenate([dx[0] for dx in found if dx is not None]), expected[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("head", ["readout", "linear", "linear-label", "mlp-label"])
def test_a_stage_that_is_restored_goes_on_as_the_one_that_was_saved(head: str, optimiser: str) -> None:
    """Bit for bit: weights, running statistics, the optimiser's memory and the head's."""
    resolved = resolve(Run(data="digits", hidden=(16, 12), head=head, epochs=2, optimiser={"name": optimiser}), blobs())
    saved, restored = (dense_stage(assign(resolved, stage=1)) for _ in range(2))
    for seed in range(5):
        learn(saved, seed)

    restored.load_state_dict(saved.state_dict())
    assert restored.version == 5
    for seed in range(5, 8):
        learn(saved, seed)
        learn(restored, seed)

    after = restored.state_dict()
    for name, array in saved.state_dict().items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_a_saved_state_does_not_change_with_the_stage() -> None:
    resolved = resolve(Run(data="digits", hidden=(16, 12)), blobs())
    stage = dense_stage(assign(resolved, stage=1))
    learn(stage, 0)
    saved = stage.state_dict()
    before = {name: array.copy() for name, array in saved.items()}

    learn(stage, 1)

    assert all((saved[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"hidden": (16, 13)}, r"layer1.weight is float32 \(16, 13\) there and float32 \(16, 12\) here"),
        ({"optimiser": {"name": "sgd"}}, "is in only one of the two"),
        ({"network": {"dtype": "float64"}}, "is float64"),
    ],
)
def test_the_state_of_another_stage_is_refused_and_changes_nothing(other: dict[str, Any], sentence: str) -> None:
    usual = {"data": "digits", "hidden": (16, 12)}
    mine, theirs = (dense_stage(assign(resolve(Run(**usual | values), blobs()), stage=1)) for values in ({}, other))
    before = mine.state_dict()

    with pytest.raises(ValueError, match=sentence):
        mine.load_state_dict(theirs.state_dict())

    assert all((mine.state_dict()[name] == array).all() for name, array in before.items())


def learn(stage: DenseStage, seed: int) -> None:
    """One step of a hidden stage of 16 inputs: from its head, and then with a gradient that came back."""
    rng = np.random.default_rng(seed)
    dtype = stage.layers[0].parameters[0].value.dtype
    x, y = rng.standard_normal((B, 16)).astype(dtype), rng.integers(0, 3, B)
    passed = stage.forward((x,))
    stage.backward(passed, stage.synthesize(passed, (y,)), want_dx=False)
    stage.step(B)
    stage.refine(passed, (y,), (rng.standard_normal(passed.outputs[0].shape).astype(dtype),))


@pytest.mark.parametrize("weights", list(Weights))
def test_a_pass_that_is_kept_goes_back_in_two_parts_which_make_the_whole(weights: Weights) -> None:
    """A guess at once and the rest after an update, to the same inputs' gradient and, with the same weights, the same sums."""
    whole, cut = a_stage(weights), a_stage(weights)
    rng = np.random.default_rng(1)
    true, guess = rng.standard_normal((2, B, C))
    (x, _), (other, wanted) = a_batch(0), a_batch(1)

    expected = whole.backward(whole.forward((x,)), (true,), want_dx=True)
    whole.step(B)
    passed = cut.forward((x,))
    first = cut.backward(passed, (guess,), want_dx=True, keep=True)
    if weights is Weights.AT_FORWARD:  # what comes in between changes nothing
        before = cut.state_dict()
        train(cut, other, wanted, parts=1)
        cut.load_state_dict(before)
        cut.backward(cut.forward((x,)), (guess,), want_dx=False)
    second = cut.backward(passed, (true - guess,), want_dx=True)
    cut.step(B)

    assert expected is not None
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first[0] + second[0], expected[0], rtol=0, atol=1e-12)
    for name, array in whole.model_state().items():
        np.testing.assert_allclose(cut.model_state()[name], array, rtol=0, atol=1e-12, err_msg=name)
