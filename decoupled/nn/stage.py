"""The seam between training and maths: what a worker asks of its stage, whichever library computes it.

Everything that goes in and comes out is numpy arrays on the host; what a backend needs for the way back stays in its Pass.
All gradients are per sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np

from decoupled.tensors import Array, Tensors, TensorSpec


class Weights(Enum):
    """With which weights a pass goes back when the stage has made updates since its forward pass."""

    CURRENT = "current"  # those of the moment
    AT_FORWARD = "at-forward"  # those that it went forward with, of which the pass keeps a copy


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What a forward pass leaves behind: the stage's outputs, and what its backend saved for the way back."""

    outputs: Tensors
    saved: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class LossResult:
    """What the loss says of a microbatch's outputs."""

    value: float  # the mean over the samples
    gradients: Tensors  # of the outputs
    correct: int | None  # answers that are right; None where right and wrong mean nothing
    answers: int  # of how many: one for each sample, or for each of its positions


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a synthetic gradient matched the gradient that came back."""

    cosine: float
    norm_ratio: float  # of the synthetic gradient to the returned one
    relative_error: float  # norm of their difference over the norm of the returned one

    @classmethod
    def of(cls, synthetic: Sequence[Array], returned: Sequence[Array]) -> "Quality":
        """Of arrays that belong together, taken as one long vector."""
        norm2, dot, target2 = (
            sum(float(np.vdot(a, b)) for a, b in zip(*pair, strict=True))
            for pair in ((synthetic, synthetic), (synthetic, returned), (returned, returned))
        )
        if target2 == 0:
            return cls(0.0, 0.0, 0.0)
        norm, target = norm2**0.5, target2**0.5
        apart = max(norm2 - 2 * dot + target2, 0.0) ** 0.5
        return cls(dot / (norm * target) if norm else 0.0, norm / target, apart / target)


class Stage(Protocol):
    """A block of a network with its optimiser and, where it is not the last, its head. It is what one worker trains.

    Any number of passes may be in flight. A backend may free what belongs to a pass as soon as nobody holds the Pass.
    """

    @property
    def inputs(self) -> TensorSpec: ...
    @property
    def outputs(self) -> TensorSpec: ...

    version: int  # updates made so far

    def forward(self, x: Tensors, training: bool = True) -> Pass:
        """The pass of a microbatch. What follows the data, such as running statistics, does so only in training."""

    def loss(self, passed: Pass, targets: Tensors) -> LossResult:
        """Of the last stage: the loss of the pass's outputs, and its gradients."""

    def synthesize(self, passed: Pass, targets: Tensors) -> Tensors:
        """The head's guess of the gradients of the pass's outputs (`outputs.gradients`)."""

    def backward(self, passed: Pass, gradients: Tensors, want_dx: bool, keep: bool = False) -> Tensors | None:
        """Adds to the parameters' gradients, which the next step uses; gives those of the inputs where they are wanted.

        With `keep` the pass can go back once more.
        """

    def step(self, samples: int) -> None:
        """The optimiser's update with the gradients since the last step, which are of `samples` in all; also the head's own."""

    def refine(self, passed: Pass, targets: Tensors, gradients: Tensors) -> Quality:
        """Fits the head to the gradients that came back for the pass."""

    def published(self) -> Tensors:
        """Of the last stage: copies of what the heads before it read, such as its output layer; empty where none does."""

    def adopt(self, published: Tensors) -> None:
        """Takes over what the last stage published, for the head. Raises ValueError, before anything has changed, for others."""

    def model_state(self) -> dict[str, Array]:
        """Copies of all that the trained model is made of, by name."""

    def state_dict(self) -> dict[str, Array]:
        """Copies of all that training goes on from, by name: also the optimiser's, the head's and the version."""

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Goes on from a state. Raises ValueError, before anything has changed, when it is not that of such a stage."""
