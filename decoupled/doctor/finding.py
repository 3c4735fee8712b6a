"""A finding: one thing that was looked at, how it stands, and what to do about it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen; where something is, or may become, wrong, what to do."""

    title: str
    state: State
    seen: str
    advice: str = ""


def judged(title: str, seen: str, *faults: tuple[bool, State, str]) -> Finding:
    """The finding with the state and the advice of the first of the faults that is there, or none."""
    state, advice = next(((state, advice) for is_there, state, advice in faults if is_there), ("ok", ""))
    return Finding(title, state, seen, advice)
