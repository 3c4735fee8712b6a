"""The identity of a run: what it trains, as against how that is carried out. Checkpoints fit runs of the same identity alone."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoupled.config import Run
from decoupled.errors import UsageError
from decoupled.nn.targets import REGRESSION
from decoupled.user_code import fingerprints, split

# What may be another when a run is resumed: all that changes neither the network nor which batches come in which order.
CHANGEABLE: dict[str, Any] = {
    **dict.fromkeys(("epochs", "lr", "emulation", "checkpoint", "supervision", "faults", "metrics"), True),
    "link": {"window", "high_water_mark", "message_bytes_max", "silence_s"},
    "runtime": {"threads", "device", "report_every_s"},
    "dataset": {"directory"},
}

# What earlier versions had no setting for, as it was with them: their checkpoints do not name it.
NEWER = {
    "model": "mlp",
    "dataset.augment": None,
    "heads.publish_every": 10,
    "link.wire": None,
    "dni.late_weights": None,
    "dni.share": 1.0,
    "optimiser.warm_up": 0,
    "optimiser.weight_decay": None,
    "optimiser.clip": None,
}


def digest(run: Run) -> str:
    """The same for all runs that train the same. A file of the user's is known by what it holds, wherever it lies."""
    code = code_of(run)

    def by_content(reference: str) -> str:
        where, attribute = split(reference)
        return f"{code.get(where, where)}:{attribute}"

    return hashlib.sha256(json.dumps(_trained(run.with_references(by_content)), sort_keys=True).encode()).hexdigest()


def code_of(run: Run) -> dict[str, str]:
    """The sha256 of each file of the user's that decides what is trained, by where it is.

    Raises UsageError where this process may not run one.
    """
    return fingerprints(reference for reference in run.references if reference not in run.metrics)


def refuse_another(folder: Path, before: Run, now: Run) -> None:
    """Raises UsageError with the first difference that a checkpoint cannot bear."""
    then, there = _trained(before), _trained(now)
    for name in then | there:
        if then.get(name) != there.get(name):
            raise UsageError(
                f"{folder} was trained with {name} {then.get(name)}, not {there.get(name)}. Resume it as it was, or train anew."
            )


def _trained(run: Run) -> dict[str, Any]:
    """What is trained, by dotted names."""
    free = CHANGEABLE | {"data": True, "task": True}  # data may be arrays, of any size; most tasks follow from the loss
    values = {"task": run.task} if run.task == REGRESSION else {}  # which were not standardised when there was no task
    whole = _flat({"data": run.data_name} | values | run.model_dump(mode="json", exclude=free))
    return {name: value for name, value in whole.items() if (name, value) not in NEWER.items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
