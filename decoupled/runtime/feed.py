"""The feed: the stream of microbatches that enters the first stage, as a function of the run alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from decoupled.config import Run
from decoupled.data import batches
from decoupled.data.dataset import Array, Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One microbatch of the feed: rows to train on, or to evaluate after `epoch` epochs."""

    microbatch: int
    training: bool
    epoch: int  # from 1
    x: Array
    y: Array
    ends_minibatch: bool = True


def stream(dataset: Dataset, batch: int, epochs: int, seed: int, evaluate_every: int, microbatches: int = 1) -> Iterator[Item]:
    """Every epoch's batches, and the whole test set after every `evaluate_every` epochs (0: never) and at the end.

    A batch is cut into at most `microbatches` parts of one size, but for the last. Evaluation rides in the same stream,
    so every stage evaluates at the same cut: after all that was fed before, and before all that comes after.
    """
    number = 0
    for epoch in range(1, epochs + 1):
        for rows in batches.shuffled(len(dataset.x_train), batch, seed, epoch):
            for start, stop in batches.bounds(len(rows), _part(batch, microbatches)):
                part = rows[start:stop]
                yield Item(number, True, epoch, dataset.x_train[part], dataset.y_train[part], stop == len(rows))
                number += 1
        if epoch == epochs or (evaluate_every and epoch % evaluate_every == 0):
            for rows in batches.in_order(len(dataset.x_test), batch):
                yield Item(number, False, epoch, dataset.x_test[rows], dataset.y_test[rows])
                number += 1


def length(dataset: Dataset, batch: int, epochs: int, evaluate_every: int, microbatches: int = 1) -> int:
    """How many microbatches `stream` gives."""
    sizes = [stop - start for start, stop in batches.bounds(len(dataset.x_train), batch)]
    training = sum(batches.count(size, _part(batch, microbatches)) for size in sizes)
    evaluations = -(-epochs // evaluate_every) if evaluate_every else 1
    return epochs * training + evaluations * batches.count(len(dataset.x_test), batch)


def end_of_training(dataset: Dataset, run: Run) -> int:
    """How many microbatches `stream` gives before the last evaluation."""
    whole = length(dataset, run.batch, run.epochs, run.runtime.evaluate_every, run.microbatches or 1)
    return whole - batches.count(len(dataset.x_test), run.batch)


def _part(batch: int, microbatches: int) -> int:
    return -(-batch // microbatches)
