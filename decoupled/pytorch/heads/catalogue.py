"""The heads by name, and which one fits what flows."""

from decoupled.errors import UsageError
from decoupled.pytorch.heads.image import image
from decoupled.pytorch.heads.sequence import sequence
from decoupled.pytorch.heads.vector import vector
from decoupled.registry import Registry
from decoupled.tensors import TensorSpec

HEADS = Registry("head", {"vector": vector, "image": image, "sequence": sequence})
BY_DIMENSIONS = {1: "vector", 2: "sequence", 3: "image"}  # of a sample


def fitting(name: str, flow: TensorSpec) -> str:
    """The name of the head, where that is `auto`: the one for what leaves the stage. Raises UsageError when none fits."""
    if name != "auto":
        return name
    found = BY_DIMENSIONS.get(len(flow.arrays[0].shape)) if flow.arrays[0].has_gradient else None
    if found is None:
        raise UsageError(f"No head is made for {flow}. Give one of your own: --head my_head.py:make")
    return found
