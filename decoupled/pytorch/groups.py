"""What an optimiser of PyTorch keeps in its groups beside the parameters, such as counts of its own: saved as plain data.

The learning rate is left out, for the run sets it before each update; and so is what is as it was when the optimiser was made.
"""

import json
from typing import Any

import numpy as np
import torch

from decoupled.errors import UsageError
from decoupled.tensors import Array

LEFT_OUT = ("params", "lr")
SINGLE = (bool, int, float, str, type(None))
ROWS: dict[str, type] = {"tuple": tuple, "list": list}
BYTES_MAX = 1 << 20

Values = dict[str, str]  # of a group, by name, as JSON


class Groups:
    """The groups of one optimiser, as they are now and as they were when it was made."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        """Raises UsageError when they hold what cannot be saved, and so does `state`."""
        self._groups: list[dict[str, Any]] = optimiser.param_groups
        self._at_first = self._now()

    def _now(self) -> list[Values]:
        return [{name: _form(name, value) for name, value in group.items() if name not in LEFT_OUT} for group in self._groups]

    def state(self) -> Array | None:
        """What has changed since the optimiser was made, as the bytes of a JSON text; None where nothing has."""
        pairs = zip(self._now(), self._at_first, strict=True)
        changed = [{name: form for name, form in now.items() if form != first.get(name)} for now, first in pairs]
        return np.frombuffer(json.dumps(changed).encode(), np.uint8).copy() if any(changed) else None

    def check(self, state: Array | None) -> list[Values]:
        """What the groups are to hold. Raises ValueError when this is no state of such groups."""
        if state is None:
            return self._at_first
        try:
            if state.dtype != np.uint8 or state.ndim != 1 or len(state) > BYTES_MAX:
                raise ValueError("this is no text")
            changed = json.loads(state.tobytes())
            return [first | _checked(group, first) for first, group in zip(self._at_first, changed, strict=True)]
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, UsageError) as error:
            raise ValueError(f"the optimiser's groups cannot be so: {error!r:.100}") from error

    def load(self, state: Array | None) -> None:
        """Goes on from a state. Raises ValueError, before anything has changed, when it is not that of such groups."""
        for group, values in zip(self._groups, self.check(state), strict=True):
            for name in group.keys() - {*LEFT_OUT, *values}:
                del group[name]
            group.update({name: _value(form) for name, form in values.items()})


def _form(name: str, value: Any) -> str:
    """The value as JSON. Raises UsageError for what is not plain."""
    kind = type(value).__name__
    if isinstance(value, SINGLE):
        return json.dumps(value)
    if kind in ROWS and all(isinstance(one, SINGLE) for one in value):
        return json.dumps({kind: list(value)})
    raise UsageError(
        f"The optimiser keeps a {kind} as {name} in its groups, of which only numbers, texts and rows of these can be saved. "
        "Keep it in its state of a parameter."
    )


def _value(form: str) -> Any:
    """What `_form` was given."""
    found = json.loads(form)
    if not isinstance(found, dict):
        return found
    ((kind, row),) = found.items()
    return ROWS[kind](row)


def _checked(group: Values, first: Values) -> Values:
    """The same. Raises one of many errors where it is not what was made of a group that was like `first`."""
    for name, form in group.items():
        kinds = {_kind(_value(form)), _kind(_value(first.get(name, "null")))} - {type(None)}
        if name in LEFT_OUT or len(kinds) > 1 or _form(name, _value(form)) != form:
            raise ValueError(f"another kind of {name}")
    return group


def _kind(value: Any) -> type:
    """Whole numbers and others are of one kind."""
    return float if type(value) is int else type(value)
