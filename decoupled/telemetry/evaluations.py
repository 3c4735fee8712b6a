"""Evaluations: what the test set gave, added up from one part for each of its microbatches."""

from dataclasses import dataclass
from operator import index
from typing import Any


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the whole test set gave after `epoch` epochs; accuracy is None where right and wrong mean nothing."""

    epoch: int
    loss: float
    accuracy: float | None
    seconds: float  # since the run began


@dataclass(frozen=True, slots=True)
class Part:
    """What one microbatch of the test set gave."""

    loss: float
    correct: int | None  # None where it means nothing

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> "Part":
        """Raises KeyError, TypeError or ValueError when it is not there."""
        return cls(float(body["loss"]), None if body["correct"] is None else index(body["correct"]))


@dataclass(slots=True)
class _Sum:
    """What the parts of one evaluation have come to."""

    samples: int = 0
    loss: float = 0.0
    correct: int = 0


class Evaluations:
    """Adds up each epoch's parts until the whole test set has been seen."""

    def __init__(self, samples: int, done: tuple[Evaluation, ...] = ()) -> None:
        self._samples = samples
        self.done = done  # by epoch, so that the last one is that of the whole run
        self._sums: dict[int, _Sum] = {}

    def add(self, part: Part, samples: int, epoch: int, seconds: float) -> None:
        """Takes in what one microbatch of so many samples gave."""
        so_far = self._sums.setdefault(epoch, _Sum())
        so_far.samples += samples
        so_far.loss += part.loss * samples
        so_far.correct += part.correct or 0
        if so_far.samples >= self._samples:
            accuracy = None if part.correct is None else so_far.correct / so_far.samples
            evaluation = Evaluation(epoch, so_far.loss / so_far.samples, accuracy, seconds)
            self.done = tuple(sorted((*self.done, evaluation), key=lambda one: one.epoch))
            del self._sums[epoch]
