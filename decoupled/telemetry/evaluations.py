"""Evaluations: what the test set gave, added up from one part for each of its microbatches."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the whole test set gave after `epoch` epochs; accuracy is None where right and wrong mean nothing."""

    epoch: int
    loss: float
    accuracy: float | None
    seconds: float  # since the run began


class Evaluations:
    """Adds up parts until the whole test set has been seen."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self.done: tuple[Evaluation, ...] = ()
        self._seen, self._loss, self._correct = 0, 0.0, 0

    def add(self, part: dict[str, Any], epoch: int, seconds: float) -> None:
        """Takes in {loss, correct, samples} of one microbatch; `correct` is None where it means nothing."""
        self._seen += part["samples"]
        self._loss += part["loss"] * part["samples"]
        self._correct += part["correct"] or 0
        if self._seen >= self._samples:
            accuracy = None if part["correct"] is None else self._correct / self._seen
            self.done = (*self.done, Evaluation(epoch, self._loss / self._seen, accuracy, seconds))
            self._seen, self._loss, self._correct = 0, 0.0, 0
