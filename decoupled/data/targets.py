"""A user's targets: which task they are for, and what is learnt of them."""

from dataclasses import dataclass

import numpy as np

from decoupled.errors import UsageError
from decoupled.nn.parameters import Array
from decoupled.nn.targets import CLASSIFICATION, MULTILABEL, REGRESSION, Targets, standardising

CLASSES_MAX = 65_536
FEW = 20  # whole values that floats have: rather classes than measurements
MANY = 1000  # classes: fewer data sets have so many than have whole numbers for values
LABEL_MAX = 256  # letters
SAY = "task {0} (--task {0})"  # in Python and on the command line
NUMBERS, TEXTS = "buif", "U"  # kinds of dtypes


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What is learnt: how targets are encoded, for how many outputs, those of both sets, and what looks wrong with them."""

    targets: Targets
    outputs: int
    y_train: Array
    y_test: Array
    doubts: tuple[str, ...] = ()


def read(train: Array, test: Array, name: str, task: str | None = None, beside_tokens: bool = False) -> Learnt:
    """What is learnt of these targets, which `plain` has made. Without a task it is guessed.

    One label a sample (whole numbers, texts, booleans) is a class; rows of 0 and 1 are bits; other numbers are values. Where it
    is said that they are classes, rows of whole numbers or texts have one at each position; and so, for all that is known, have
    rows of whole numbers beside inputs that are tokens, as many a sample.
    Raises UsageError with what does not fit.
    """
    if (train.dtype.kind in TEXTS) != (test.dtype.kind in TEXTS):
        raise UsageError(f"{name}: y_train is {train.dtype} and y_test {test.dtype}; both must be numbers, or both texts.")
    for key, y in (("y_train", train), ("y_test", test)):
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            row = int(np.isfinite(y.reshape(len(y), -1)).all(axis=1).argmin())
            raise UsageError(f"{name}: {key} holds values that are not finite, first in row {row}. Mend or leave them out.")
    if task is None and beside_tokens and train.dtype.kind in "ui":
        return _classes(train, test, name, True)
    return READERS[task or _guess(train, test)](train, test, name, task is None)


def plain(y: Array, key: str, name: str) -> Array:
    """Targets as an array of numbers or texts, of one dimension or two. Objects in it are numbers or texts, all alike.

    Raises UsageError when they are something else.
    """
    if y.dtype.kind == "O":  # such as the categories of a data frame
        kinds = {str if isinstance(one, str) else type(one) for one in y.flat}
        if kinds == {str}:
            if max(map(len, y.flat)) > LABEL_MAX:
                raise UsageError(f"{name}: {key} holds texts of more than {LABEL_MAX} letters, which are no labels.")
            y = y.astype(str)
        elif kinds <= {bool, int, float, np.bool_} or all(issubclass(kind, np.number) for kind in kinds):
            y = np.array(y.tolist())
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind not in NUMBERS + TEXTS or y.ndim not in (1, 2):
        raise UsageError(f"{name}: {key} must be numbers or texts of shape (samples,) or (samples, outputs).")
    return y


def _guess(train: Array, test: Array) -> str:
    """The task that the targets suit."""
    both = (train, test)
    if all(y.dtype.kind != "U" and y.ndim == 2 and np.isin(y, (0, 1)).all() for y in both):
        return MULTILABEL
    is_one = train.ndim == 1 or train.shape[1] == 1
    return CLASSIFICATION if is_one and all(y.dtype.kind in "buiU" for y in both) else REGRESSION


def _classes(train: Array, test: Array, name: str, is_guessed: bool) -> Learnt:
    are_tokens = train[0].size > 1
    if are_tokens and train.dtype.kind not in "uiU":
        raise UsageError(f"{name}: classification takes one label a sample, and y has {train.shape[1]}. Is it multilabel?")
    known, labels = _labels(train), _labels(np.concatenate([train, test]))
    if are_tokens and labels.dtype.kind in "ui":  # those that are not there have a number nevertheless
        if labels[0] < 0:
            raise UsageError(f"{name}: y holds the token {labels[0].item()}; tokens are numbers from 0 on.")
        labels = np.arange(min(int(labels[-1]), CLASSES_MAX) + 1)
    if len(labels) > CLASSES_MAX:
        raise UsageError(f"{name}: y holds {len(labels):,} different labels; {CLASSES_MAX:,} classes are the most there can be.")
    are_numbers = labels.dtype.kind in "ui" and np.array_equal(labels, np.arange(len(labels)))
    targets = Targets(CLASSIFICATION, None if are_numbers else labels, shape=train.shape[1:])
    doubts = (
        _doubts_about_tokens(known, train, is_guessed) if are_tokens else _doubts_about_classes(known, labels, train, is_guessed)
    )
    if labels.dtype.kind in "ui" and not are_numbers:
        doubts += (f"The labels are not 0 to {len(labels) - 1}, so they are mapped to that; predict gives them back.",)
    return Learnt(targets, len(labels), targets.encode(train, len(labels)), targets.encode(test, len(labels)), doubts)


def _doubts_about_classes(known: Array, labels: Array, train: Array, is_guessed: bool) -> tuple[str, ...]:
    """Whole numbers of very many values may be no classes; and some classes may have few samples to learn them from, or none."""
    is_scant, may_be_values = len(known) * 10 > train.size, is_guessed and train.dtype.kind in "ui"
    new = np.setdiff1d(labels, known)
    if not (is_scant or len(new) or (may_be_values and len(known) > MANY)):
        return ()
    advice = (
        f"If the whole numbers in y are values, say {SAY.format(REGRESSION)}. "
        if may_be_values and (is_scant or len(known) > MANY)
        else ""
    )
    share = f"{len(known):,} of its {len(labels):,} classes" if len(new) else f"its {len(known):,} classes"
    samples = f" with only {len(train):,} samples" if is_scant else ""
    others = f", and is tested on others as well, such as {new[0].item()!r}" if len(new) else ""
    return (f"{advice}The run trains on {share}{samples}{others}.",)


def _doubts_about_tokens(known: Array, train: Array, is_guessed: bool) -> tuple[str, ...]:
    """Tokens come again and again; whole numbers that hardly do may be values."""
    if not is_guessed or len(known) * 10 <= train.size:
        return ()
    numbers = f"{len(known):,} different whole numbers"
    return (f"y is taken for tokens, as x is; if its {numbers} are values, say {SAY.format(REGRESSION)}.",)


def _labels(y: Array) -> Array:
    """The different labels, ascending."""
    if y.dtype.kind == "u" and y.max() <= np.iinfo(np.int64).max:
        y = y.astype(np.int64)
    return np.unique(y)


def _bits(train: Array, test: Array, name: str, is_guessed: bool) -> Learnt:
    if any(y.dtype.kind in TEXTS or not np.isin(y, (0, 1)).all() for y in (train, test)):
        raise UsageError(f"{name}: multilabel takes rows of 0 and 1, and y holds something else.")
    bits = [y.reshape(len(y), -1).astype(np.uint8) for y in (train, test)]
    return Learnt(Targets(MULTILABEL, shape=train.shape[1:]), bits[0].shape[1], bits[0], bits[1])


def _values(train: Array, test: Array, name: str, is_guessed: bool) -> Learnt:
    if any(y.dtype.kind in TEXTS for y in (train, test)):
        raise UsageError(f"{name}: regression takes numbers, and y holds texts.")
    columns = [y.reshape(len(y), -1).astype(np.float64) for y in (train, test)]
    with np.errstate(over="ignore", invalid="ignore"):
        targets = standardising(columns[0], train.shape[1:])
        learnt = [targets.standardised(values) for values in columns]
    if not all(np.isfinite(values).all() for values in (*targets.arrays.values(), *learnt)):
        raise UsageError(f"{name}: y holds values that are too large.")
    return Learnt(targets, columns[0].shape[1], learnt[0], learnt[1], _doubts_about_values(train) if is_guessed else ())


def _doubts_about_values(train: Array) -> tuple[str, ...]:
    """Floats of few whole values may be the numbers of classes."""
    if train.dtype.kind != "f" or train[0].size != 1:
        return ()
    values = np.unique(train)
    if len(values) > FEW or len(values) * 10 >= len(train) or (values % 1).any():
        return ()
    return (f"y has only {len(values)} different values; if they are classes, say {SAY.format(CLASSIFICATION)}.",)


READERS = {CLASSIFICATION: _classes, MULTILABEL: _bits, REGRESSION: _values}
