"""text:FILE: the characters of a text, to be foretold: samples are windows, targets the next character at every position.

The first nine tenths of the text are trained on. An epoch is all windows that do not overlap, from a random offset on, so
that every character comes once; the last tenth has the windows to test with.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decoupled.data import batches
from decoupled.data.source import Batch
from decoupled.errors import UsageError
from decoupled.nn.targets import CLASSIFICATION, Targets
from decoupled.tensors import Array, ArraySpec

PREFIX = "text:"
FILE_BYTES_MAX = 1 << 27
CONTEXT_MAX = 65_536
VOCABULARY_MAX = 65_536  # different characters
CODE_POINTS = 0x110000  # in Unicode
TRAIN_SHARE = 0.9
OF_OFFSETS = 0x7E47  # keeps these random numbers apart from those of the batches' order


class Text:
    """A DataSource. Inputs and targets are N x context, the numbers of characters in the order of the vocabulary."""

    def __init__(self, path: Path, context: int = 64, test: int = 1024) -> None:
        """`test` is how many windows there are to test with at most, spread evenly.

        Raises UsageError where the file is no text, or one too short.
        """
        if not 2 <= context <= CONTEXT_MAX or test < 1:
            raise UsageError(f"A text has windows of 2 to {CONTEXT_MAX:,} characters, and at least 1 to test with.")
        content = _read(path)
        codes = _decoded(content, path)
        vocabulary, self._tokens = _numbered(codes, path)
        self.name = f"{PREFIX}{path}"
        self.fingerprint = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._context = context
        self._cut = int(len(codes) * TRAIN_SHARE)
        self._starts = _test_starts(self._cut, len(codes), context, test)
        self.samples = (self._cut - context) // context  # windows, whatever the offset
        if self.samples < 1 or not len(self._starts):
            raise UsageError(f"{path} is too short: with {len(codes):,} characters it has no windows of {context}.")
        self.outputs = len(vocabulary)
        self.targets = Targets(CLASSIFICATION, vocabulary, shape=(context,))
        self.x = self.y = ArraySpec("int64", (context,), below=self.outputs)
        self.scaling = np.empty(0, np.float32), np.empty(0, np.float32)  # tokens are taken as they are

    @property
    def test_samples(self) -> int:
        return len(self._starts)

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        """The windows of an epoch in a random order, from batch `start` on."""
        offset = int(np.random.default_rng([seed, epoch, OF_OFFSETS]).integers(self._context))
        for rows in batches.shuffled(self.samples, batch, seed, epoch, start):
            yield self._windows(offset + rows * self._context)

    def test_batches(self, batch: int, start: int) -> Iterator[Batch]:
        """The windows to test with, from batch `start` on."""
        for rows in batches.in_order(self.test_samples, batch, start):
            yield self._windows(self._starts[rows])

    def _windows(self, starts: Array) -> Batch:
        """What begins there, and what comes one character later."""
        both = self._tokens[starts[:, None] + np.arange(self._context + 1)].astype(np.int64)
        return np.ascontiguousarray(both[:, :-1]), np.ascontiguousarray(both[:, 1:])


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"The text {path} cannot be read: {error.strerror}.") from None
    if len(content) > FILE_BYTES_MAX:
        raise UsageError(f"{path} is larger than {FILE_BYTES_MAX >> 20} MB. Give a part of it.")
    return content


def _decoded(content: bytes, path: Path) -> Array:
    """The code points of the characters."""
    try:
        codes = np.frombuffer(content.decode("utf-8-sig").encode("utf-32-le"), np.uint32)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start:,}.") from None
    if not codes.all():
        raise UsageError(f"{path} holds NUL characters, so it is no text.")
    return codes


def _numbered(codes: Array, path: Path) -> tuple[Array, Array]:
    """The different characters, ascending, and the text as their numbers."""
    is_there = np.zeros(CODE_POINTS, bool)
    is_there[codes] = True
    known = np.flatnonzero(is_there)
    if not 1 < len(known) <= VOCABULARY_MAX:
        raise UsageError(f"{path} has {len(known):,} different characters; a text has 2 to {VOCABULARY_MAX:,}.")
    numbers = np.zeros(CODE_POINTS, np.uint16)
    numbers[known] = np.arange(len(known))
    return np.array([chr(code) for code in known]), numbers[codes]


def _test_starts(cut: int, end: int, context: int, count: int) -> Array:
    """Where the windows to test with begin."""
    starts = np.arange(cut, end - context, context)
    return starts if len(starts) <= count else starts[np.linspace(0, len(starts) - 1, count).astype(np.int64)]
