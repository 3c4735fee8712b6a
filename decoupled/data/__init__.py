"""Data: data sets by name or from the user's arrays, checked, and the order of their batches.

May import: numpy, files, downloads with a checksum.
Must not know: networks, processes, schedules. Files from strangers are data, never code: nothing here unpickles.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoupled import user_code
from decoupled.data.addition import addition
from decoupled.data.arrays import NEEDED, from_mapping, from_npz
from decoupled.data.digits import digits
from decoupled.data.mnist import mnist
from decoupled.data.source import DataSource, checked
from decoupled.errors import UsageError
from decoupled.registry import Registry

DATA = Registry("dataset", {"digits": digits, "addition": addition, "mnist": mnist})
NAMES = tuple(DATA)


def load(
    data: str | Mapping[str, Any] | DataSource,
    directory: Path | None = None,
    bits: int = 8,
    task: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> DataSource:
    """The data of that name, in that .npz file, or of these arrays (x_train, y_train, x_test, y_test); a source is itself.

    A reference names a function that gives such a mapping or a source. `options` are arguments of what is named; `directory`
    is where mnist is looked for, `bits` the width of the numbers in addition, where the options do not say it. `task` is what
    the targets are for (None: guessed from them). Raises UsageError when there is no such dataset or it is malformed.
    """
    if isinstance(data, Mapping):
        return from_mapping(data, "arrays", task)
    if not isinstance(data, str):
        return checked(data)
    if data.endswith(".npz"):
        return from_npz(Path(data), task)
    if data not in NAMES and not user_code.is_reference(data):
        choices = f"Choose {', '.join(NAMES)}, or give the path of an .npz file, or a reference such as my_data.py:make"
        raise UsageError(f"There is no dataset {data!r}. {choices}.")
    usual: dict[str, dict[str, Any]] = {"addition": {"bits": bits}, "mnist": {"directory": directory}}
    made = DATA.make(data, options=usual.get(data, {}) | dict(options or {}))
    if isinstance(made, Mapping):
        return from_mapping(made, data, task)
    if not hasattr(made, "batches"):
        raise UsageError(f"{data} gave a {type(made).__name__}; give a dictionary of {', '.join(NEEDED)}, or a data source.")
    return checked(made)
