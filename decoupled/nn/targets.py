"""Targets: what a user's targets are to a network, and the way back from its answers to their labels, units and shape."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from decoupled.errors import UsageError
from decoupled.nn.parameters import Array

CLASSIFICATION, MULTILABEL, REGRESSION = "classification", "multilabel", "regression"
MEAN, DEVIATION = "target.mean", "target.deviation"  # names among a network's arrays


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """A task, and how its targets are encoded: class numbers for labels, standardised values, bits as they are."""

    task: str
    labels: Array | None = None  # of the classes, ascending; None: class numbers
    mean: Array | None = None  # of each value; None: values are not standardised
    deviation: Array | None = None
    shape: tuple[int, ...] | None = None  # of one sample's target; None: as the loss answers

    @property
    def are_tokens(self) -> bool:
        """A sample has a class at each of its positions, of which there may be any number."""
        return self.task == CLASSIFICATION and self.shape not in (None, (), (1,))

    @property
    def arrays(self) -> dict[str, Array]:
        """What belongs with the network's arrays: the scale of values."""
        return {} if self.mean is None or self.deviation is None else {MEAN: self.mean, DEVIATION: self.deviation}

    def unit(self, outputs: int) -> Array | None:
        """What 1 of each value that is learnt is in the user's units; None where no values are learnt."""
        if self.task != REGRESSION:
            return None
        return np.ones(outputs) if self.deviation is None else self.deviation

    def labels_of(self, outputs: int) -> Array | None:
        """The labels of so many classes, in the order of their numbers; None where there are no classes."""
        if self.task != CLASSIFICATION:
            return None
        return np.arange(outputs) if self.labels is None else self.labels

    def with_scale(self, arrays: dict[str, Array]) -> "Targets":
        """The same with the scale that is among these arrays, if any."""
        return replace(self, mean=arrays.get(MEAN), deviation=arrays.get(DEVIATION))

    def encode(self, y: Array, outputs: int) -> Array:
        """A user's targets as the loss takes them. Raises UsageError when they cannot be this network's."""
        y = np.asarray(y)
        if self.task == CLASSIFICATION:
            return self._numbers(y, outputs)
        columns = y.reshape(len(y), -1) if y.ndim in (1, 2) else y
        if columns.ndim != 2 or columns.shape[1] != outputs or columns.dtype.kind not in "buif":
            raise UsageError(f"The targets must be numbers of shape (N, {outputs}), not {y.dtype} of shape {y.shape}.")
        if not np.isfinite(columns).all():
            raise UsageError("The targets hold values that are not finite.")
        if self.task == MULTILABEL:
            return columns.astype(np.uint8 if np.isin(columns, (0, 1)).all() else np.float32)
        return self.standardised(columns)

    def encode_for(self, inputs: int, y: Array, outputs: int) -> Array:
        """The same for so many inputs. Raises UsageError unless there are as many targets, and some."""
        y = np.asarray(y)
        if y.shape[:1] != (inputs,) or not inputs:
            raise UsageError(f"There are {inputs} inputs and {len(y) if y.ndim else 1} targets.")
        return self.encode(y, outputs)

    def standardised(self, values: Array) -> Array:
        """Values, N x C in the user's units, as they are learnt: float32."""
        if self.mean is not None and self.deviation is not None:
            values = (values - self.mean) / self.deviation
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values, np.float32)

    def in_units(self, values: Array) -> Array:
        """Values that a network gives, N x C, in the user's units: float64 where they were standardised."""
        return values if self.mean is None or self.deviation is None else values * self.deviation + self.mean

    def decode(self, answers: Array) -> Array:
        """Answers (class numbers, bits, or values in the user's units) as the user gave targets."""
        if self.task == CLASSIFICATION and self.labels is not None:
            answers = self.labels[answers]
        return answers if self.shape is None or self.are_tokens else answers.reshape(len(answers), *self.shape)

    def restored(self, learnt: Array) -> Array:
        """The user's targets, of what `encode` gave."""
        return self.decode(self.in_units(learnt))

    def _numbers(self, y: Array, outputs: int) -> Array:
        """Labels as class numbers: N, or N x T for tokens."""
        if not self.are_tokens:
            flat = y.reshape(len(y), -1)
            if flat.shape[1] != 1:
                raise UsageError(f"The targets must be one label a sample, not of shape {y.shape}.")
            y = flat[:, 0]
        elif y.ndim != 2:
            raise UsageError(f"The targets must be labels of shape (samples, positions), not {y.shape}.")
        labels = np.arange(outputs) if self.labels is None else self.labels
        if (labels.dtype.kind == "U") != (y.dtype.kind in "UO"):
            raise UsageError(f"The targets are {y.dtype}, but the network's labels are {labels.dtype}.")
        y = y.astype(str) if labels.dtype.kind == "U" else y
        numbers = np.searchsorted(labels, y).clip(max=len(labels) - 1)
        if (unknown := labels[numbers] != y).any():
            raise UsageError(f"The targets hold the label {y[unknown][0].item()!r}, which the network was not trained for.")
        return numbers.astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """As plain values, without the arrays."""
        labels = None if self.labels is None else self.labels.tolist()
        return {"task": self.task, "labels": labels, "shape": None if self.shape is None else list(self.shape)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Targets":
        """Raises KeyError, TypeError or ValueError when these are not what `to_json` gave."""
        labels = None if values["labels"] is None else np.array(values["labels"])
        if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "buifU"):
            raise ValueError("the labels are no list of numbers or texts")
        return cls(str(values["task"]), labels, shape=None if values["shape"] is None else tuple(map(int, values["shape"])))


def standardising(values: Array, shape: tuple[int, ...]) -> Targets:
    """How these values, N x C in the user's units, are learnt: each less its mean, in deviations; constant ones become 0."""
    deviation = values.std(axis=0, dtype=np.float64)
    deviation[values.min(axis=0) == values.max(axis=0)] = 1.0
    return Targets(REGRESSION, mean=values.mean(axis=0, dtype=np.float64), deviation=deviation, shape=shape)
