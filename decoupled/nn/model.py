"""The seam for networks: what training asks of a model that is cut into stages, whichever library computes it."""

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from decoupled.nn.partition import Work
from decoupled.nn.scores import Score, Tally
from decoupled.nn.stage import Stage, Weights
from decoupled.nn.targets import CLASSIFICATION, Targets
from decoupled.tensors import Array, TensorSpec

Stages: TypeAlias = tuple[tuple[int, ...], ...]  # the layers of each


@dataclass(frozen=True, slots=True, eq=False)
class ModelSite:
    """What a model is made for: data, and what is to be learnt from them."""

    inputs: TensorSpec  # what enters the first stage
    targets: TensorSpec
    outputs: int  # classes, bits or values to answer with
    scaling: tuple[Array, Array]  # mean and deviation of the inputs; without elements where they are taken as they are
    loss: str  # a name of LOSSES, or a reference
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """How a stage is trained. Names are those of registries, or references; what they stand for is the backend's matter."""

    seed: int
    rate: float  # the learning rate at the start
    decay: str  # how it moves: constant, linear or cosine
    steps_total: int  # updates in the whole run
    optimiser: str
    optimiser_args: dict[str, Any] = field(default_factory=dict)
    weights: Weights | None = None  # that a late pass goes back with; None: the backend's usual
    head: str | None = None  # None where the stage is to have none
    heads_before: str | None = None  # of the last stage: the head of those before it, which may read what it publishes
    head_rate: float = 0.0
    head_args: dict[str, Any] = field(default_factory=dict)
    task: str = CLASSIFICATION  # of the targets
    warm_up: int = 0  # updates in which the learning rate rises
    clip: float | None = None  # the largest norm of the stage's mean gradient
    devices: str = "auto"  # which there are, such as cuda:0,cuda:1
    stage: int = 0  # its number, which decides its device


class TrainedModel(Protocol):
    """A model that has been trained, in evaluation mode."""

    @property
    def arrays(self) -> dict[str, Array]:
        """All that it has learnt, by name."""

    @property
    def about(self) -> dict[str, Any]:
        """What is needed beside the arrays to build it again, as plain values."""

    @property
    def targets(self) -> Targets: ...

    def predict(self, x: Array) -> Array:
        """The answers for raw inputs, in the form of the targets trained on."""

    def evaluate(self, x: Array, y: Array) -> Score:
        """How well the answers for raw inputs fit a user's targets."""


class AnsweringModel(TrainedModel, Protocol):
    """One that a run's folder gives back, whichever library computes it. What it refuses is a UsageError."""

    BATCH: int  # rows at a time, to bound memory

    @property
    def inputs(self) -> TensorSpec:
        """What it takes."""

    @property
    def labels(self) -> Array | None:
        """The classes' labels, in the order of their numbers; None where there are no classes."""

    def outputs(self, x: Array) -> Array:
        """Raw outputs, N x ... x C, for raw inputs: logits, or values in the user's units."""

    def predict_proba(self, x: Array) -> Array:
        """The probability of each class or bit, N x ... x C."""

    def tally(self, tally: Tally, x: Array, y: Array) -> None:
        """Adds to the tally how well the answers for a part of a set fit a user's targets."""


class Model(Protocol):
    """A network of layers in a row, which can be cut between any two of them. Its factory is called with a ModelSite."""

    @property
    def layers(self) -> int:
        """How many there are."""

    def name(self, layer: int) -> str:
        """What the layer is, in a word or two, for people."""

    def weights(self, layer: int) -> int:
        """How many numbers the layer learns."""

    def work(self, samples: int) -> Work | None:
        """What each layer computes for so many samples, by which the model is cut into stages; None: it is to be measured."""

    def head_name(self, layers: tuple[int, ...], training: Training) -> str:
        """What the head of such a stage is called, also where the run leaves the choice open."""

    def head_work(self, layers: tuple[int, ...], training: Training, length: int) -> tuple[int, int]:
        """Multiplications for a sample, forward and backward: of the stage's head and of the stage; 0 where not known.

        Lengths that vary are taken to be `length`.
        """

    def flow(self, layer: int) -> TensorSpec:
        """What enters that layer; for `layers`, what comes out of the last."""

    def check(self, training: Training, stages: Stages) -> None:
        """Raises UsageError where something that the run names is not there, has no such options, or fits no such stages."""

    def stage(self, layers: tuple[int, ...], training: Training) -> Stage:
        """A stage of these layers with their initial weights: the same for a seed, however the model is cut."""

    def trained(self, arrays: dict[str, Array], targets: Targets) -> TrainedModel:
        """The model with what all stages have learnt (`model_state`). Raises ValueError when that is not this model's."""
