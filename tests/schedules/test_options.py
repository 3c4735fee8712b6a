"""Options with which a schedule would never begin, or have no bound, are refused."""

from typing import Any

import pytest

from decoupled.errors import UsageError
from decoupled.schedules.catalogue import SCHEDULES
from decoupled.schedules.interface import Place


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ("async1f1b", {"extra": -2}),
        ("2bw", {"extra": -2}),
        ("2bw", {"extra": 5000}),
        ("dni", {"stash_max": 0}),
        ("dni", {"share": 0}),
        ("local", {"stash_max": 0}),
    ],
    ids=str,
)
def test_it_is_refused_with_a_sentence_that_names_it(schedule: str, options: dict[str, Any]) -> None:
    (name,) = options

    with pytest.raises(UsageError, match=f"The schedule {schedule}: {name}: "):
        SCHEDULES.make(schedule, Place(0, 3), options=options)
