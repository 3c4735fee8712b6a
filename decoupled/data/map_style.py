"""Data sets that are read item by item, such as PyTorch's: a source of batches over anything with a length and numbered items."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np

from decoupled.data import batches
from decoupled.data.dataset import are_whole
from decoupled.data.source import Batch
from decoupled.errors import UsageError
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL, Targets
from decoupled.tensors import Array, ArraySpec

LOOKED_AT = 64  # items of each set, for the fingerprint
BYTE = 255.0
TRAIN, TEST = 0, 1


class MapStyle(Protocol):
    """What `torch.utils.data.Dataset` is: items by number, each an input and a target."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class DatasetSource:
    """A DataSource over a data set to train on and another to test with.

    Inputs and targets are tensors, arrays or numbers. Transforms that use PyTorch's random numbers draw anew for each epoch and
    batch, and the same for a seed, so that a run can be taken up anywhere.
    """

    def __init__(
        self,
        train: MapStyle,
        test: MapStyle,
        outputs: int,
        task: Literal["classification", "multilabel", "regression"] = "classification",
        name: str | None = None,
        fingerprint: str | None = None,
        scaling: tuple[Array, Array] | None = None,
        collate: Callable[[Sequence[Any]], tuple[Any, Any]] | None = None,
    ) -> None:
        """`outputs` is how many classes, bits or values there are to answer with.

        Without a `fingerprint` one is made of the lengths and of some items. `scaling` is the mean and the deviation of the
        inputs; without, they are taken as they are, but for bytes, which are brought between 0 and 1. `collate` makes inputs and
        targets of a list of items, as a DataLoader's does; without it they are stacked. Raises UsageError for items that are no
        pairs of numbers.
        """
        self._sets, self._task, self.outputs, self._collate = (train, test), task, outputs, collate or _stacked
        self.name = name or type(train).__name__
        if not len(train) or not len(test):
            raise UsageError(f"{self.name} has {len(train)} samples to train on and {len(test)} to test with; it needs some.")
        looked_at = [self._look(which) for which in (TRAIN, TEST)]
        x, y = looked_at[TRAIN][0]
        shapes = (_shape([item[at].shape for items in looked_at for item in items]) for at in (0, 1))
        self.x, self.y = (ArraySpec(one.dtype.name, shape) for one, shape in zip((x, y), shapes, strict=True))
        if task == CLASSIFICATION:
            self.y = replace(self.y, below=outputs)
        self.targets = Targets(task, shape=y.shape[1:])
        self.scaling = scaling or _usual_scaling(x)
        self.fingerprint = fingerprint or self._digest(looked_at)

    @property
    def samples(self) -> int:
        return len(self._sets[TRAIN])

    @property
    def test_samples(self) -> int:
        return len(self._sets[TEST])

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        """The batches of an epoch in a random order of items, from batch `start` on."""
        for number, rows in enumerate(batches.shuffled(self.samples, batch, seed, epoch, start), start):
            yield self._read(TRAIN, rows, seed, epoch, number)

    def test_batches(self, batch: int, start: int) -> Iterator[Batch]:
        """The batches of the test set, from batch `start` on."""
        for number, rows in enumerate(batches.in_order(self.test_samples, batch, start), start):
            yield self._read(TEST, rows, number)

    def _read(self, which: int, rows: Array, *drawn_by: int) -> Batch:
        with _drawing_by(which, *drawn_by):
            items = [self._sets[which][int(row)] for row in rows]
        try:
            x, y = (np.asarray(one) for one in self._collate(items))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.name}: items must be pairs of an input and a target of one shape: {error}.") from None
        if x.dtype.kind not in "buif" or y.dtype.kind not in "buif" or x.ndim < 2:
            raise UsageError(f"{self.name}: items must be numbers, not {x.dtype} of shape {x.shape[1:]} and {y.dtype}.")
        return _as_taken(x), self._learnt(y)

    def _learnt(self, y: Array) -> Array:
        """Targets as the loss takes them: class numbers N or N x T; bits or values N x C."""
        if self._task == CLASSIFICATION:
            return y.astype(np.int64)
        return y.reshape(len(y), -1).astype(np.uint8 if self._task == MULTILABEL else np.float32)

    def _look(self, which: int) -> list[Batch]:
        """Some items of a set, each by itself, spread evenly."""
        count = len(self._sets[which])
        rows = np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64)
        return [self._read(which, row, 0) for row in rows[:, None]]

    def _digest(self, looked_at: list[list[Batch]]) -> str:
        """A fingerprint of the lengths and of these items."""
        digest = hashlib.sha256(f"{self.name} {self.samples} {self.test_samples} {self.outputs} {self._task}".encode())
        for array in (array for items in looked_at for item in items for array in item):
            digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
        return f"sha256:{digest.hexdigest()}"


def _stacked(items: Sequence[Any]) -> tuple[Array, Array]:
    inputs, targets = zip(*items, strict=True)
    return np.stack([np.asarray(one) for one in inputs]), np.stack([np.asarray(one) for one in targets])


def _shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int | None, ...]:
    """That of a sample, without the lengths that differ."""
    return tuple(lengths[0] if len(set(lengths)) == 1 else None for lengths in zip(*(one[1:] for one in shapes), strict=False))


def _as_taken(x: Array) -> Array:
    """Whole numbers as int64, bytes as they are, and all others as float32."""
    if are_whole(x.dtype):
        return x.astype(np.int64, copy=False)
    return x.astype(np.uint8 if x.dtype.kind in "bu" else np.float32, copy=False)


def _usual_scaling(x: Array) -> tuple[Array, Array]:
    if x.dtype == np.uint8:
        return np.zeros(1, np.float32), np.full(1, BYTE, np.float32)
    return np.empty(0, np.float32), np.empty(0, np.float32)


@contextmanager
def _drawing_by(*numbers: int) -> Iterator[None]:
    """Has what draws with PyTorch's random numbers draw by these; the caller's own go on as before."""
    torch = sys.modules.get("torch")  # a data set that uses it has imported it
    if torch is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1))
        yield
