"""Where samples come from: what the rest of the program knows of data, whether or not they fit into memory."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

from decoupled.errors import UsageError
from decoupled.nn.targets import Targets
from decoupled.tensors import Array, ArraySpec

Batch: TypeAlias = tuple[Array, Array]  # inputs and targets, a row for each sample


class DataSource(Protocol):
    """Samples to train on, samples to test with, and what a network needs to know to be built for them.

    Batches are cut as `batches.bounds` says: each has `batch` samples, only the last may have another number. What is in
    them depends on the seed and the epoch alone. A source begins at batch `start` without reading those before it, so that a
    run can be taken up anywhere.
    """

    @property
    def name(self) -> str: ...

    @property
    def samples(self) -> int:
        """How many there are to train on, in an epoch."""

    @property
    def test_samples(self) -> int: ...

    @property
    def x(self) -> ArraySpec: ...

    @property
    def y(self) -> ArraySpec: ...

    @property
    def targets(self) -> Targets:
        """The task, and how what the batches hold as targets was made of the user's."""

    @property
    def outputs(self) -> int:
        """How many classes, bits or values there are."""

    @property
    def scaling(self) -> tuple[Array, Array]:
        """Mean and deviation that standardise the inputs: of one element each, or of as many as a sample has."""

    @property
    def fingerprint(self) -> str:
        """The same for the same contents, and another for others: a run is resumed only on the data it was begun with."""

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        """The batches to train on in an epoch (from 1), from batch `start` (from 0) on."""

    def test_batches(self, batch: int, start: int) -> Iterator[Batch]:
        """All there is to test with, in the same order each time, from batch `start` on."""


def checked(source: Any) -> DataSource:
    """The same source. Raises UsageError when it lacks something that a source has."""
    missing = [name for name in vars(DataSource) if not name.startswith("_") and not hasattr(source, name)]
    if missing:
        raise UsageError(f"The data source {type(source).__name__} lacks {', '.join(missing)} (see decoupled.data.source).")
    made: DataSource = source
    return made
