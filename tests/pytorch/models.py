"""Models of blocks for tests, without a run around them."""

from typing import Any

import numpy as np
import torch

from decoupled.nn.model import ModelSite, Training
from decoupled.nn.recipe import Recipe
from decoupled.pytorch.model import TorchModel
from decoupled.pytorch.models import gpt, mlp, vgg
from decoupled.tensors import TensorSpec

torch.set_num_threads(1)  # tests run beside others
CLASSES, TOKENS, LENGTH = 10, 11, 8
AS_IT_IS = np.zeros(1, np.float32), np.ones(1, np.float32)
NONE = np.zeros(0, np.float32), np.zeros(0, np.float32)  # for tokens


def of_blocks(make: Any, inputs: TensorSpec, targets: TensorSpec, outputs: int, dtype: str = "float32") -> TorchModel:
    scaling = AS_IT_IS if inputs.arrays[0].has_gradient else NONE
    site = ModelSite(inputs, targets, outputs, scaling, "softmax", seed=0)
    torch.manual_seed(0)
    return TorchModel(Recipe("a model of a test", {}, site, dtype, {}), make(site))


def images(width: int = 4, dtype: str = "float32", make: Any = None) -> TorchModel:
    spec = TensorSpec.of("float32", 3, 32, 32)
    return of_blocks(
        make or (lambda site: vgg.make(site, width=width)), spec, TensorSpec.of("int64", below=CLASSES), CLASSES, dtype
    )


def texts(dtype: str = "float32", make: Any = None) -> TorchModel:
    tokens = TensorSpec.of("int64", LENGTH, below=TOKENS)
    return of_blocks(make or (lambda site: gpt.make(site, width=16, depth=3, heads=2)), tokens, tokens, TOKENS, dtype)


def vectors(dtype: str = "float32", make: Any = None) -> TorchModel:
    spec = TensorSpec.of("float32", 12)
    return of_blocks(
        make or (lambda site: mlp.make(site, hidden=(16, 16))), spec, TensorSpec.of("int64", below=CLASSES), CLASSES, dtype
    )


def training(head: str | None = "auto", optimiser: str = "adamw", rate: float = 3e-3, **options: Any) -> Training:
    return Training(0, rate, "constant", 1000, optimiser, head=head, head_rate=rate, head_args=options)
