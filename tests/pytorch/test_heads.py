"""Heads of PyTorch's models: their gradients, what they learn, their state, and what they cost."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from decoupled.nn.stage import Pass
from decoupled.pytorch.models import gpt
from decoupled.pytorch.stage import TorchStage
from decoupled.tensors import Tensors, TensorSpec
from tests.pytorch import models
from tests.pytorch.headed import CUT, first_stage, microbatch, returned

pytestmark = pytest.mark.slow

BY_KIND = [(kind, "auto") for kind in CUT]
BY_KIND += [(kind, name) for kind in CUT for name in ("linear", "linear-label")] + [("images", "dni-conv")]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("images", {}), ("images", {"convolutions": 3, "layers": 0, "cells": 3}), ("vectors", {}), ("vectors", {"width": 0})]
    + [("texts", options) for options in ({}, {"blocks": 2}, {"blocks": 0}, {"blocks": 0, "width": 0})],
)
def test_a_reading_gives_the_gradient_of_its_own_loss(kind: str, options: dict[str, Any]) -> None:
    model, stage = first_stage(kind, dtype="float64", **options)
    x, targets = microbatch(model, stage)
    passed = stage.forward(x)
    module = stage.head.module  # type: ignore[union-attr]
    for parameter in module.parameters():  # some begin at zero
        parameter.data += 0.1

    (synthetic,) = stage.synthesize(passed, targets)

    h = torch.from_numpy(passed.outputs[0]).clone().requires_grad_()
    answers, wanted = module(h), torch.from_numpy(targets[0])
    losses = torch.nn.functional.cross_entropy(answers.flatten(0, -2), wanted.flatten(), reduction="none")
    losses.reshape(len(h), -1).mean(1).sum().backward()
    np.testing.assert_allclose(synthetic, h.grad.numpy(), rtol=0, atol=1e-12)


def own_loss(stage: TorchStage, passed: Pass, targets: Tensors) -> float:
    with torch.no_grad():
        answers = stage.head.module(torch.from_numpy(passed.outputs[0]))  # type: ignore[union-attr]
    return float(torch.nn.functional.cross_entropy(answers.flatten(0, -2), torch.from_numpy(targets[0]).flatten()))


@pytest.mark.parametrize("kind", CUT)
def test_a_reading_learns_by_its_own_loss(kind: str) -> None:
    model, stage = first_stage(kind)
    x, targets = microbatch(model, stage)
    passed = stage.forward(x)
    before = own_loss(stage, passed, targets)

    for _ in range(100):
        stage.synthesize(passed, targets)
        stage.step(len(targets[0]))

    assert own_loss(stage, passed, targets) < 0.7 * before


@pytest.mark.parametrize(("kind", "head"), [case for case in BY_KIND if case[1] != "auto"])
def test_an_imitator_comes_to_agree_with_the_gradient_that_comes_back(kind: str, head: str) -> None:
    model, stage = first_stage(kind, head)
    x, targets = microbatch(model, stage)
    passed = stage.forward(x)
    true = (0.001 * passed.outputs[0],)
    assert stage.refine(passed, targets, true).relative_error == 1, "it begins silent"

    for _ in range(150):
        after = stage.refine(passed, targets, true).relative_error

    assert after < 0.8


@pytest.mark.parametrize(("kind", "head"), BY_KIND)
def test_a_head_goes_on_from_its_state_bit_for_bit(kind: str, head: str) -> None:
    def turn(stage: TorchStage) -> None:
        passed = stage.forward(x)
        stage.backward(passed, stage.synthesize(passed, targets), want_dx=False)
        stage.step(len(targets[0]))
        stage.refine(passed, targets, returned(passed, stage))

    model, stage = first_stage(kind, head)
    x, targets = microbatch(model, stage)
    turn(stage)
    _, other = first_stage(kind, head)
    other.load_state_dict(stage.state_dict())

    turn(stage)
    turn(other)

    mine, its = stage.state_dict(), other.state_dict()
    assert mine.keys() == its.keys()
    assert any(name.startswith("head.optimiser") for name in mine)
    for name, array in mine.items():
        np.testing.assert_array_equal(array, its[name])


@pytest.mark.parametrize("kind", CUT)
def test_a_state_of_another_head_changes_nothing(kind: str) -> None:
    _, stage = first_stage(kind)
    head = stage.head
    assert head is not None
    before = head.state()
    name = next(iter(before))
    bad: list[dict[str, Any]] = [
        {},
        before | {"more": np.zeros(3)},
        before | {name: np.zeros(3, np.float32)},
        before | {name: before[name].astype(np.float64)},
        before | {"optimiser.nothing.exp_avg": np.zeros(3, np.float32)},
    ]
    for state in bad:
        with pytest.raises(ValueError, match=r"."):
            head.load(state)
        after = head.state()
        assert after.keys() == before.keys()
        assert all((after[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(("kind", "head"), BY_KIND)
def test_heads_work_in_every_precision(kind: str, head: str, dtype: str) -> None:
    model, stage = first_stage(kind, head, dtype)
    x, targets = microbatch(model, stage)
    passed = stage.forward(x)

    synthetic = stage.synthesize(passed, targets)

    assert [(one.shape, one.dtype) for one in synthetic] == [(one.shape, one.dtype) for one in passed.outputs]
    stage.backward(passed, synthetic, want_dx=False)
    stage.refine(passed, targets, synthetic)


class Two(nn.Module):
    """Gives beside its output a mask and what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(12, 16)

    def forward(self, x: Any) -> Any:
        h = self.linear(x)
        return x[:, 0] > 0, h, x


@pytest.mark.parametrize("head", ["auto", "linear-label"])
def test_of_several_tensors_that_leave_each_that_can_have_one_gets_a_gradient(head: str) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(28, models.CLASSES)

        def forward(self, mask: Any, h: Any, x: Any) -> Any:
            return self.linear(torch.cat([h, x], 1) * mask[:, None])

    model = models.vectors(make=lambda site: [Two(), Last()])
    training = models.training(head)
    model.check(training, ((0,), (1,)))
    stage = model.stage((0,), training)
    x, targets = microbatch(model, stage)
    passed = stage.forward(x)
    stage.refine(passed, targets, returned(passed, stage))

    looked_at, passed_by = stage.synthesize(passed, targets)

    assert looked_at.shape == (8, 16)
    assert np.any(looked_at)
    assert passed_by.shape == (8, 12)
    assert not np.any(passed_by)
    stage.backward(passed, (looked_at, passed_by), want_dx=True)


def test_a_head_of_a_convolutional_stage_costs_at_most_a_twentieth_of_it() -> None:
    """Of vgg in four stages, those that have two convolutions."""
    model = models.images(width=32)
    for layers in CUT["images"][:-1]:
        of_head, of_stage = model.head_work(layers, models.training())
        assert 0 < of_head <= 0.05 * of_stage


def test_work_is_what_the_shapes_say() -> None:
    """Three products for each layer: its output, its weight's gradient, its input's."""
    model = models.vectors()
    of_head, of_stage = model.head_work((1,), models.training(width=8))
    assert of_stage == 3 * 16 * 16
    assert of_head == 3 * (16 * 8 + 8 * models.CLASSES)


def test_a_copied_block_has_weights_of_its_own_and_leaves_the_stage_as_it_is() -> None:
    model = models.texts()
    plain, headed = model.stage((2,), models.training(None)), model.stage((2,), models.training())
    for name, array in plain.model_state().items():
        np.testing.assert_array_equal(array, headed.model_state()[name])
    again = model.stage((2,), models.training())
    own, stages = headed.state_dict(), headed.model_state()
    for name, array in stages.items():
        if name.endswith("qkv.weight"):
            assert not np.array_equal(array, own[f"head.module.before.0.{name.partition('.')[2]}"])
    assert all((array == again.state_dict()[name]).all() for name, array in own.items()), "the same for a seed"


def test_a_stage_whose_blocks_do_not_fit_gets_a_head_without_them() -> None:
    """Here it is the embedding alone, which takes tokens."""
    model = models.texts()
    model.check(models.training(), ((0,), (1, 2, 3, 4)))
    stage = model.stage((0,), models.training(blocks=2))
    assert not any("qkv" in name for name in stage.state_dict())


def test_a_text_may_have_one_answer_in_all() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 3)

        def forward(self, h: Any) -> Any:
            return self.linear(h.mean(1))

    tokens = TensorSpec.of("int64", models.LENGTH, below=models.TOKENS)
    model = models.of_blocks(
        lambda site: [gpt.Embedding(models.TOKENS, models.LENGTH, 16), gpt.Block(16, 2, 0.0), Last()],
        tokens,
        TensorSpec.of("int64", below=3),
        3,
    )
    training = models.training()
    model.check(training, ((0, 1), (2,)))
    stage = model.stage((0, 1), training)
    x, targets = microbatch(model, stage)
    assert targets[0].shape == (8,)
    assert stage.synthesize(stage.forward(x), targets)[0].shape == (8, models.LENGTH, 16)
