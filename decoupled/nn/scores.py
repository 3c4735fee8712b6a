"""Scores: how well a network's answers fit the targets of a whole set."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from decoupled.nn.metrics import PERPLEXITY, Metric, load_metrics, measured
from decoupled.nn.parameters import Array
from decoupled.nn.targets import Targets

LOSS_MAX = 700.0  # whose exponential is still a number


@dataclass(frozen=True, slots=True)
class Score:
    """The mean loss, and what the task has beside it. None: it has no such figure."""

    loss: float  # of values: of standardised ones, where they were standardised for training
    accuracy: float | None = None  # share of wholly right answers
    r2: float | None = None  # of values: the mean over outputs
    mae: float | None = None  # of values: mean absolute error in the user's units, the mean over outputs
    metrics: dict[str, float] = field(default_factory=dict)  # further ones by name


def sums(answers: Array, targets: Array) -> Array:
    """What R2 and the mean absolute error are made of, and can be added up: 4 x C, for values and targets, both N x C.

    The rows are the sums over samples of squared errors, of absolute errors, of targets, and of squared targets.
    """
    y = targets.astype(np.float64)
    error = answers - y
    return np.stack([np.square(error).sum(axis=0), np.abs(error).sum(axis=0), y.sum(axis=0), np.square(y).sum(axis=0)])


class Tally:
    """Adds up what the parts of a set give, until their score is asked for."""

    def __init__(
        self, unit: Array | None = None, metrics: Mapping[str, Metric] | None = None, has_perplexity: bool = False
    ) -> None:
        """`unit` is what 1 of each learnt value is in the user's units; None: what is learnt are no values.

        `metrics` are those that are measured as well; with `has_perplexity` the loss is that of tokens.
        """
        self._unit, self.metrics, self._has_perplexity = unit, dict(metrics or {}), has_perplexity
        self.samples = self._answers = 0
        self._loss = 0.0
        self._correct: int | None = 0
        self._sums = np.zeros((4, 0 if unit is None else len(unit)))
        self._measured = np.zeros(len(self.metrics))

    @classmethod
    def of(cls, targets: Targets, outputs: int, loss: str | None, metrics: Iterable[str]) -> "Tally":
        """For such targets, and metrics by name. Raises UsageError where one of them cannot be had."""
        return cls(targets.unit(outputs), load_metrics(metrics), has_perplexity=targets.are_tokens and loss == "softmax")

    def measure(self, outputs: Array, targets: Array) -> list[float]:
        """The metrics of a part, as `add` takes them."""
        return measured(self.metrics, outputs, targets)

    def add(
        self,
        samples: int,
        loss: float,
        correct: int | None,
        errors: Array | None = None,
        answers: int | None = None,
        measured: Sequence[float] = (),
    ) -> None:
        """Takes in a part: its mean loss, how many answers are wholly right, and what `sums` gives of values.

        `answers` is how many there are, where each sample has several; `measured` is the mean of each metric.

        Raises ValueError when it is not of such targets.
        """
        if len(measured) != len(self.metrics):
            raise ValueError(f"{len(measured)} metrics came where there are {len(self.metrics)}")
        if self._unit is not None:
            if errors is None or errors.shape != self._sums.shape:
                raise ValueError(f"the part of {len(self._unit)} values lacks their errors")
            self._sums += errors
        self._measured += samples * np.array(measured, np.float64)
        self.samples += samples
        self._answers += samples if answers is None else answers
        self._loss += loss * samples
        self._correct = None if correct is None or self._correct is None else self._correct + correct

    @property
    def score(self) -> Score:
        """Of all that was added, of which there must be some."""
        loss = self._loss / self.samples
        metrics = {PERPLEXITY: math.exp(min(loss, LOSS_MAX))} if self._has_perplexity else {}
        metrics |= dict(zip(self.metrics, (self._measured / self.samples).tolist(), strict=True))
        if self._unit is None:
            return Score(loss, None if self._correct is None else self._correct / self._answers, metrics=metrics)
        return Score(loss, None, *self._r2_and_mae(self._unit), metrics=metrics)

    def _r2_and_mae(self, unit: Array) -> tuple[float | None, float]:
        """Outputs with one target for all have no R2."""
        squared, absolute, y, y_squared = self._sums
        spread = y_squared - np.square(y) / self.samples
        varies = spread > 1e-12 * y_squared  # beyond what rounding makes
        r2 = float(np.mean(1 - squared[varies] / spread[varies])) if varies.any() else None
        return r2, float(np.mean(absolute * unit) / self.samples)
