"""Stages with heads of models of every kind, and what comes to them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from decoupled.nn.stage import Pass
from decoupled.pytorch.model import TorchModel
from decoupled.pytorch.stage import TorchStage
from decoupled.tensors import Tensors
from tests.pytorch import models

CUT = {"images": ((0, 1), (2, 3), (4, 5), (6, 7)), "texts": ((0, 1), (2,), (3, 4)), "vectors": ((0,), (1, 2))}
MAKE: dict[str, Callable[..., TorchModel]] = {"images": models.images, "texts": models.texts, "vectors": models.vectors}

SMALL: dict[str, dict[str, Any]] = {"dni-conv": {"width": 8}}


def microbatch(model: TorchModel, stage: TorchStage, rows: int = 8) -> tuple[Tensors, Tensors]:
    """Something for the stage, with targets."""
    rng = np.random.default_rng(1)
    made = [(spec, array) for spec, array in zip(stage.inputs.arrays, stage.inputs.zeros(rows), strict=True)]
    x = tuple(
        rng.standard_normal(array.shape).astype(array.dtype)
        if spec.has_gradient
        else rng.integers(0, spec.below or 2, array.shape).astype(array.dtype)
        for spec, array in made
    )
    (targets,) = model._site.targets.zeros(rows)
    return x, (rng.integers(0, model._site.outputs, targets.shape),)


def first_stage(kind: str, head: str = "auto", dtype: str = "float32", **options: Any) -> tuple[TorchModel, TorchStage]:
    model = MAKE[kind](dtype=dtype)
    return model, model.stage(CUT[kind][0], models.training(head, **SMALL.get(head, {}), **options))


def returned(passed: Pass, stage: TorchStage) -> Tensors:
    rng = np.random.default_rng(2)
    outputs = stage.outputs.differentiable(passed.outputs)
    return tuple((0.01 * rng.standard_normal(one.shape)).astype(one.dtype) for one in outputs)
