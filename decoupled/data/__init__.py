"""Data: data sets by name or from the user's arrays, checked, and the order of their batches.

May import: numpy, files, downloads with a checksum.
Must not know: networks, processes, schedules. Files from strangers are data, never code: nothing here unpickles.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from decoupled import user_code
from decoupled.data import augment
from decoupled.data.addition import addition
from decoupled.data.arrays import NEEDED, from_mapping, from_npz
from decoupled.data.cifar10 import cifar10
from decoupled.data.dataset import Dataset
from decoupled.data.digits import digits
from decoupled.data.mnist import mnist
from decoupled.data.source import DataSource, checked
from decoupled.data.text import PREFIX, Text
from decoupled.errors import UsageError
from decoupled.registry import Registry

DATA = Registry("dataset", {"digits": digits, "addition": addition, "mnist": mnist, "cifar10": cifar10})
NAMES = tuple(DATA)
TEXTS = Registry("dataset", {f"{PREFIX}FILE": Text})


def load(
    data: str | Mapping[str, Any] | DataSource,
    directory: Path | None = None,
    bits: int = 8,
    task: str | None = None,
    options: Mapping[str, Any] | None = None,
    augmentation: str | None = None,
) -> DataSource:
    """The data of that name, in that .npz file or text:FILE, or of these arrays (x_train, y_train, x_test, y_test).

    A source is itself; a reference names a function that gives such a mapping or a source. `options` are arguments of what is
    named; `directory` is where mnist and cifar10 are looked for, `bits` the width of the numbers in addition, where the options
    do not say it. `task` is what the targets are for (None: guessed from them), `augmentation` one of augment.KINDS (None: the
    data's own). Raises UsageError when there is no such dataset or it is malformed.
    """
    placed = {"directory": directory}
    usual: dict[str, dict[str, Any]] = {"addition": {"bits": bits}, "mnist": placed, "cifar10": placed}
    source = _made(data, task, usual.get(data, {}) | dict(options or {}) if isinstance(data, str) else {})
    if augmentation is None or (augmentation == augment.NONE and not isinstance(source, Dataset)):
        return source
    if not isinstance(source, Dataset):
        raise UsageError(f"{source.name} cannot be augmented here: only arrays of images can.")
    if augmentation != augment.NONE:
        augment.check(source.name, source.x)
    return replace(source, augment=augmentation)


def found_from_anywhere(name: str) -> str:
    """The same name, with the whole path of a file that it holds."""
    prefix = PREFIX if name.startswith(PREFIX) else ""
    path = name.removeprefix(prefix)
    return f"{prefix}{Path(path).resolve()}" if prefix or path.endswith(".npz") else name


def _made(data: str | Mapping[str, Any] | DataSource, task: str | None, options: Mapping[str, Any]) -> DataSource:
    """The data, as they are on their own."""
    if isinstance(data, Mapping):
        return from_mapping(data, "arrays", task)
    if not isinstance(data, str):
        return checked(data)
    if data.endswith(".npz"):
        return from_npz(Path(data), task)
    if data.startswith(PREFIX):
        text: DataSource = TEXTS.make(f"{PREFIX}FILE", Path(data.removeprefix(PREFIX)), options=options)
        return text
    if data not in NAMES and not user_code.is_reference(data):
        others = "text:FILE, the path of an .npz file, or a reference such as my_data.py:make"
        raise UsageError(f"There is no dataset {data!r}. Choose {', '.join(NAMES)}, {others}.")
    made = DATA.make(data, options=options)
    if isinstance(made, Mapping):
        return from_mapping(made, data, task)
    if not hasattr(made, "batches"):
        raise UsageError(f"{data} gave a {type(made).__name__}; give a dictionary of {', '.join(NEEDED)}, or a data source.")
    return checked(made)
