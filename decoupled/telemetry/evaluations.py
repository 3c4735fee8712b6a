"""Evaluations: what the test set gave, added up from one part for each of its microbatches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import index

import numpy as np

from decoupled.nn.parameters import Array
from decoupled.nn.scores import Tally
from decoupled.wire.messages import Message


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the whole test set gave after `epoch` epochs. None: the task has no such figure (see nn.scores.Score)."""

    epoch: int
    loss: float
    accuracy: float | None
    seconds: float  # since the run began
    r2: float | None = None
    mae: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one microbatch of the test set gave."""

    loss: float
    correct: int | None  # None where it means nothing
    answers: int  # of which so many are correct
    errors: Array | None = None  # of values, as nn.scores.sums gives them
    measured: tuple[float, ...] = ()  # the mean of each of the run's metrics

    @classmethod
    def from_message(cls, message: Message) -> "Part":
        """Raises KeyError, TypeError or ValueError when it is not there."""
        loss, correct, answers = message.body["loss"], message.body["correct"], index(message.body["answers"])
        errors = message.tensors[0].astype(np.float64) if message.tensors else None
        measured = tuple(map(float, message.body["metrics"]))
        return cls(float(loss), None if correct is None else index(correct), answers, errors, measured)


class Evaluations:
    """Adds up each epoch's parts until the whole test set has been seen."""

    def __init__(self, samples: int, done: tuple[Evaluation, ...] = (), tally: Callable[[], Tally] = Tally) -> None:
        """`tally` begins another evaluation's."""
        self._samples, self._tally = samples, tally
        self.done = done  # by epoch, so that the last one is that of the whole run
        self._tallies: dict[int, Tally] = {}

    def add(self, part: Part, samples: int, epoch: int, seconds: float) -> None:
        """Takes in what one microbatch of so many samples gave. Raises ValueError when it is not of such targets."""
        tally = self._tallies.get(epoch) or self._tally()
        tally.add(samples, part.loss, part.correct, part.errors, part.answers, part.measured)
        self._tallies[epoch] = tally
        if tally.samples >= self._samples:
            score = tally.score
            evaluation = Evaluation(epoch, score.loss, score.accuracy, seconds, score.r2, score.mae, score.metrics)
            self.done = tuple(sorted((*self.done, evaluation), key=lambda one: one.epoch))
            del self._tallies[epoch]
