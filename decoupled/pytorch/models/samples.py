"""What the models here ask of samples: one sentence for data that are of another kind."""

from typing import Annotated, TypeAlias

from pydantic import Field

from decoupled.errors import UsageError
from decoupled.nn.model import ModelSite

Size: TypeAlias = Annotated[int, Field(ge=1, le=65_536)]
Depth: TypeAlias = Annotated[int, Field(ge=1, le=1000)]  # a folder may only claim what can be built in seconds
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


def image(spec: ModelSite, model: str, least: int) -> tuple[int, int, int]:
    """Channels, height and width of the samples. Raises UsageError unless they are images of `least` pixels a side."""
    first, *others = spec.inputs.arrays
    if others or (not first.has_gradient and first.dtype != "uint8") or len(first.shape) != 3 or None in first.shape:
        raise UsageError(f"{model} takes images N x channels x height x width, and these samples are {spec.inputs}.")
    channels, height, width = (length or 0 for length in first.shape)
    if min(height, width) < least:
        raise UsageError(f"{model} takes images of {least} x {least} pixels or more, and these have {height} x {width}.")
    return channels, height, width


def tokens(spec: ModelSite, model: str) -> int:
    """How many tokens there are. Raises UsageError unless samples are sequences of tokens, with an answer for each."""
    first, *others = spec.inputs.arrays
    if others or first.has_gradient or len(first.shape) != 1 or len(spec.targets.arrays[0].shape) != 1:
        given = f"these are {spec.inputs}, with targets {spec.targets}"
        raise UsageError(f"{model} takes sequences of tokens (whole numbers, N x length) with a target for each; {given}.")
    return max(first.below or 0, spec.outputs)
