"""The feed: the stream of microbatches that enters the first stage, as a function of the run alone.

Where in the data a position of the stream lies is worked out, not looked for: a run is taken up anywhere at the same cost.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count

from decoupled.data import batches
from decoupled.data.source import Batch, DataSource
from decoupled.errors import DecoupledError, RunFailed
from decoupled.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One microbatch of the feed: rows to train on, or to evaluate after `epoch` epochs."""

    microbatch: int
    training: bool
    epoch: int  # from 1
    x: Array
    y: Array
    ends_minibatch: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Every epoch's batches, and the whole test set after every `evaluate_every` epochs (0: never) and at the end.

    A batch is cut into at most `microbatches` parts of one size, but for the last. Evaluation rides in the same stream,
    so every stage evaluates at the same cut: after all that was fed before, and before all that comes after.
    """

    source: DataSource
    batch: int
    epochs: int
    seed: int
    evaluate_every: int = 0
    microbatches: int = 1
    prepare: Callable[[Array], Array] = lambda x: x  # what the network makes of a batch of inputs

    def __len__(self) -> int:
        """How many microbatches there are in all."""
        return self.end_of_training + self._evaluation

    @property
    def end_of_training(self) -> int:
        """How many microbatches there are before the last evaluation."""
        before = (self.epochs - 1) // self.evaluate_every if self.evaluate_every else 0
        return self.epochs * self._training + before * self._evaluation

    def items(self, position: int = 0) -> Iterator[Item]:
        """What there is from that position on. Raises RunFailed when the source does not give what it said it would."""
        first, offset = self._locate(position)
        numbers = count(position)
        for epoch in range(first, self.epochs + 1):
            parts = chain(self._train(epoch, offset), self._evaluate(epoch, max(offset - self._training, 0)))
            for training, x, y, ends_minibatch in parts:
                yield Item(next(numbers), training, epoch, self.prepare(x), y, ends_minibatch)
            offset = 0

    def _locate(self, position: int) -> tuple[int, int]:
        """The epoch in which a position lies, and how many of its microbatches come before it."""
        every = self.evaluate_every or self.epochs  # so many epochs, and then an evaluation
        rounds, offset = divmod(position, every * self._training + self._evaluation)
        done = rounds * every
        last = max(min(every, self.epochs - done) - 1, 0)  # what comes after it in its round is the evaluation
        epochs = min(offset // self._training, last)
        return done + epochs + 1, offset - epochs * self._training

    def _train(self, epoch: int, offset: int) -> Iterator[tuple[bool, Array, Array, bool]]:
        if offset >= self._training:
            return
        samples, size = self.source.samples, self._part
        start = min(offset // self._parts, batches.count(samples, self.batch) - 1)
        given = self.source.batches(self.batch, epoch, start, self.seed)
        skipped = offset - start * self._parts
        for x, y in self._checked(given, batches.bounds(samples, self.batch, start)):
            for first, stop in batches.bounds(len(x), size, skipped):
                yield True, x[first:stop], y[first:stop], stop == len(x)
            skipped = 0

    def _evaluate(self, epoch: int, start: int) -> Iterator[tuple[bool, Array, Array, bool]]:
        if epoch == self.epochs or (self.evaluate_every and epoch % self.evaluate_every == 0):
            given = self.source.test_batches(self.batch, start)
            for x, y in self._checked(given, batches.bounds(self.source.test_samples, self.batch, start)):
                yield False, x, y, True

    def _checked(self, given: Iterator[Batch], bounds: Iterator[tuple[int, int]]) -> Iterator[Batch]:
        """The source's batches, each of the size that it has to have: what follows relies on it."""
        name, spec = self.source.name, TensorSpec((self.source.x, self.source.y))
        for first, stop in bounds:
            try:
                x, y = next(given)
                spec.check((x, y))
            except StopIteration:
                raise RunFailed(f"The data source {name} ended {stop - first} samples or more before its end.") from None
            except DecoupledError:
                raise
            except Exception as error:
                raise RunFailed(f"The data source {name} failed: {error!r:.200}.") from error
            if len(x) != stop - first:
                raise RunFailed(f"The data source {name} gave a batch of {len(x)} samples where {stop - first} were to come.")
            yield x, y

    @property
    def _part(self) -> int:
        """Samples of a microbatch."""
        return -(-self.batch // self.microbatches)

    @property
    def _parts(self) -> int:
        """Microbatches of a batch, but for an epoch's last."""
        return batches.count(min(self.batch, self.source.samples), self._part)

    @property
    def _training(self) -> int:
        """Microbatches of an epoch to train on."""
        samples = self.source.samples
        before = batches.count(samples, self.batch) - 1
        return before * self._parts + batches.count(samples - before * self.batch, self._part)

    @property
    def _evaluation(self) -> int:
        """Microbatches of an evaluation."""
        return batches.count(self.source.test_samples, self.batch)
