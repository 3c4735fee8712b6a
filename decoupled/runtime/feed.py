"""The feed: the stream of microbatches that enters the first stage, as a function of the run alone."""

from collections.abc import Iterator
from dataclasses import dataclass

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


def stream(dataset: Dataset, batch: int, epochs: int, seed: int, evaluate_every: int) -> Iterator[Item]:
    """Every epoch's batches, and the whole test set after every `evaluate_every` epochs (0: never) and at the end.

    Evaluation rides in the same stream, so every stage evaluates at the same cut: after all that was fed before, and
    before all that comes after.
    """
    number = 0
    for epoch in range(1, epochs + 1):
        for rows in batches.shuffled(len(dataset.x_train), batch, seed, epoch):
            yield Item(number, True, epoch, dataset.x_train[rows], dataset.y_train[rows])
            number += 1
        if epoch == epochs or (evaluate_every and epoch % evaluate_every == 0):
            for rows in batches.in_order(len(dataset.x_test), batch):
                yield Item(number, False, epoch, dataset.x_test[rows], dataset.y_test[rows])
                number += 1


def length(dataset: Dataset, batch: int, epochs: int, evaluate_every: int) -> int:
    """How many microbatches `stream` gives."""
    evaluations = -(-epochs // evaluate_every) if evaluate_every else 1
    return epochs * batches.count(len(dataset.x_train), batch) + evaluations * batches.count(len(dataset.x_test), batch)
