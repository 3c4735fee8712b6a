"""The heads by name, which one fits what flows, and what makes a head of a module."""

from typing import Any

import torch
from torch import nn

from decoupled import user_code
from decoupled.errors import UsageError
from decoupled.nn.catalogue import HEAD_NAMES
from decoupled.pytorch.arrays import to_tensor
from decoupled.pytorch.heads.image import image
from decoupled.pytorch.heads.imitating import Imitating
from decoupled.pytorch.heads.interface import Head, HeadSite
from decoupled.pytorch.heads.reading import Reading
from decoupled.pytorch.heads.regression import dni_conv, linear, linear_label
from decoupled.pytorch.heads.sequence import sequence
from decoupled.pytorch.heads.vector import vector
from decoupled.registry import Registry
from decoupled.tensors import TensorSpec

HEADS = Registry(
    "head",
    {
        "vector": vector,
        "image": image,
        "sequence": sequence,
        "linear": linear,
        "linear-label": linear_label,
        "dni-conv": dni_conv,
    },
)
BY_DIMENSIONS = {1: "vector", 2: "sequence", 3: "image"}  # of a sample
METHODS = ("synthesize", "update", "refine", "adopt", "state", "load")
ROWS, LENGTH = 4, 3  # that a head is tried on


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raises UsageError where PyTorch's models have no such head, or it has no such options."""
    if name == "auto":
        return
    if name in HEAD_NAMES and name not in HEADS:
        raise UsageError(f"PyTorch's models have no head {name}; choose auto, {', '.join(HEADS)}.")
    HEADS.fitting(name, 1, options)


def fitting(name: str, flow: TensorSpec) -> str:
    """The name of the head, where that is `auto`: the one for what leaves the stage. Raises UsageError when none fits."""
    first = next((one for one in flow.arrays if one.has_gradient), None)
    found = BY_DIMENSIONS.get(len(first.shape)) if first is not None else None
    if first is None or (name == "auto" and found is None):
        raise UsageError(f"No head is made for {flow}. Cut the model elsewhere, or give your own: --head my_head.py:make")
    return found if name == "auto" and found is not None else name


def reads_output(name: str, flow: TensorSpec) -> bool:
    """Whether that head, where this leaves its stage, may read the network's output layer."""
    is_sequence = len(flow.gradients) > 0 and len(flow.gradients.arrays[0].shape) == 2
    return name == "sequence" or user_code.is_reference(name) or (name == "auto" and is_sequence)


def make_head(name: str, site: HeadSite, options: dict[str, Any]) -> Head:
    """A module reads answers off what leaves the stage or, where it says `predicts_gradient`, imitates gradients.

    Raises UsageError where the head cannot be made for what leaves the stage.
    """
    made = HEADS.make(fitting(name, site.flow), site, options=options)
    if isinstance(made, nn.Module):
        return Imitating(site, made) if getattr(made, "predicts_gradient", False) else Reading(site, made)
    if lacking := [method for method in METHODS if not callable(getattr(made, method, None))]:
        raise UsageError(f"The head {name} gave a {type(made).__name__}, which is no nn.Module and has no {lacking[0]}.")
    head: Head = made
    return head


def check_head(name: str, site: HeadSite, options: dict[str, Any]) -> None:
    """Makes the head and tries it on zeros. Raises UsageError where it does not give the gradients of what leaves the stage."""
    head = make_head(name, site, options)
    leaving, targets = (
        tuple(to_tensor(array, site.device) for array in spec.zeros(ROWS, LENGTH)) for spec in (site.flow, site.targets)
    )
    try:
        found = head.synthesize(leaving, targets)
        shapes = [tuple(one.shape) for one in found]
    except Exception as error:
        raise UsageError(f"The head {name} cannot take {site.flow}: {user_code.describe(error)}.") from error
    wanted = [tuple(one.shape) for one in site.flow.differentiable(leaving)]
    if shapes != wanted or not all(isinstance(one, torch.Tensor) for one in found):
        raise UsageError(f"The head {name} gives gradients of the shapes {shapes}, and what leaves the stage has {wanted}.")
