"""Which head fits, heads of a user's own, and what is refused of either in a sentence."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from decoupled import UsageError, user_code
from decoupled.pytorch.heads.catalogue import fitting
from decoupled.tensors import TensorSpec
from tests.pytorch import models
from tests.pytorch.headed import CUT, MAKE, microbatch, returned

pytestmark = pytest.mark.slow

OWN = """
import torch

def reading(site, width: int = 4):
    (channels,) = site.first.shape
    return torch.nn.Sequential(torch.nn.Linear(channels, width), torch.nn.Tanh(), torch.nn.Linear(width, site.outputs))

class Mean(torch.nn.Module):
    predicts_gradient = True
    def __init__(self, site):
        super().__init__()
        self.mean = torch.nn.Embedding(site.outputs, site.first.shape[0])
    def forward(self, h, targets):
        return self.mean(targets)

class Whole:
    def __init__(self, site):
        pass
    def synthesize(self, leaving, targets):
        return tuple(torch.zeros_like(one) for one in leaving)
    def update(self, samples, factor): pass
    def refine(self, leaving, targets, returned, factor):
        return returned
    def adopt(self, published): pass
    def state(self):
        return {}
    def load(self, state): pass

def wrong_shape(site):
    return torch.nn.Linear(7, site.outputs)

class WrongGradient(Mean):
    def forward(self, h, targets):
        return self.mean(targets)[:, :3]

def number(site):
    return 3
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "my_head.py").write_text(OWN)
    user_code.allow(str(tmp_path / "my_head.py"))
    return str(tmp_path / "my_head.py")


@pytest.mark.parametrize("name", ["reading", "Mean", "Whole"])
def test_a_head_of_ones_own(own: str, name: str) -> None:
    model, training = models.vectors(), models.training(f"{own}:{name}")
    model.check(training, CUT["vectors"])
    stage = model.stage((0,), training)
    x, targets = microbatch(model, stage)
    passed = stage.forward(x)
    true = returned(passed, stage)
    errors = [stage.refine(passed, targets, true).relative_error for _ in range(50)]
    assert stage.synthesize(passed, targets)[0].shape == passed.outputs[0].shape
    if name != "reading":
        assert errors[-1] <= errors[0]


@pytest.mark.parametrize(
    ("kind", "head", "options", "said"),
    [
        ("vectors", "{own}:wrong_shape", {}, "cannot take float32 N x 16: RuntimeError: mat1 and mat2"),
        ("vectors", "{own}:WrongGradient", {}, r"gives gradients of the shapes \[\(4, 3\)\]"),
        ("vectors", "{own}:number", {}, "gave a int, which is no nn.Module and has no synthesize"),
        ("vectors", "readout", {}, "PyTorch's models have no head readout; choose auto, vector"),
        ("images", "image", {"depth": 3}, "has no option depth; it has width"),
        ("images", "image", {"cells": 1}, "greater than or equal to 2, not 1"),
        ("images", "sequence", {}, "reads float32 N x 4 x 16 x 16 by a linear layer from 16 to 10"),
        ("texts", "image", {}, "cannot take"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_in_a_sentence(
    own: str, kind: str, head: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        MAKE[kind]().check(models.training(head.format(own=own), **options), CUT[kind])


@pytest.mark.parametrize(("shape", "name"), [((7,), "vector"), ((None, 7), "sequence"), ((3, 8, 8), "image")])
def test_auto_is_the_head_that_fits_the_first_array_with_a_gradient(shape: tuple[int | None, ...], name: str) -> None:
    assert fitting("auto", TensorSpec.of("bool") + TensorSpec.of("float32", *shape) + TensorSpec.of("float32", 2)) == name


def test_no_head_is_made_for_what_has_no_gradient() -> None:
    with pytest.raises(UsageError, match="No head is made for int64 N x 3"):
        fitting("auto", TensorSpec.of("int64", 3))
