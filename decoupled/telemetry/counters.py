"""Counters: one worker's running totals, reported whole each time so that a lost report loses nothing."""

import math
import resource
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_STATUS = Path("/proc/self/status")


@dataclass(slots=True)
class Mean:
    """A running mean with a maximum."""

    count: int = 0
    total: float = 0.0
    maximum: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.maximum = max(self.maximum, value)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class Recent:
    """The average of the values so far, and from the `horizon`-th on an exponential one; None before the first."""

    horizon: int = 50
    count: int = 0
    value: float | None = None

    def add(self, value: float) -> None:
        self.count += 1
        before = self.value or 0.0
        self.value = before + (value - before) / min(self.count, self.horizon)


@dataclass(slots=True)
class Counters:
    """What a stage has done so far."""

    stage: int
    samples: int = 0  # trained on
    updates: int = 0
    refined: int = 0
    evicted: int = 0
    dropped: int = 0  # outputs that found no room downstream
    unmatched_gradients: int = 0  # came for a microbatch that did not wait for one
    stash: int = 0  # microbatches held now
    inbox: int = 0  # microbatches that wait to be taken
    bytes_sent: int = 0
    bytes_received: int = 0
    staleness: Mean = field(default_factory=Mean)  # updates between a forward pass and the use of its returned gradient
    true_gradients: int = 0  # backward passes from a gradient that nobody guessed
    truth: Recent = field(default_factory=Recent)  # their share of the backward passes
    head_cosine: Recent = field(default_factory=Recent)
    head_norm_ratio: Recent = field(default_factory=Recent)
    head_relative_error: Recent = field(default_factory=Recent)
    loss: Recent = field(default_factory=Recent)  # last stage only
    accuracy: Recent = field(default_factory=Recent)  # last stage only
    peak_rss_mb: float = 0.0

    def to_body(self) -> dict[str, Any]:
        """As plain values, for a message."""
        self.peak_rss_mb = peak_rss_mb()
        return asdict(self)

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> "Counters":
        """The counters in a message's body. Raises KeyError, TypeError or ValueError when they are not there."""
        values: dict[str, Any] = {f.name: (ADDED | body)[f.name] for f in fields(cls)}
        for name in AVERAGES:
            values[name] = _of_numbers(Recent(**values[name]))
        return _of_numbers(cls(**values | {"staleness": _of_numbers(Mean(**values["staleness"]))}))


ADDED = {"true_gradients": 0, "truth": asdict(Recent())}  # that checkpoints of earlier versions lack
AVERAGES = ("truth", "head_cosine", "head_norm_ratio", "head_relative_error", "loss", "accuracy")


def _of_numbers(value: T) -> T:
    """The same dataclass, if it holds what it should."""
    for f in fields(value):
        kind: Any = f.type
        held = getattr(value, f.name)
        if not isinstance(held, kind | int):  # a whole number is a float too
            raise TypeError(f"{f.name} is {held!r:.40}")
        if kind is float and not math.isfinite(held):
            raise ValueError(f"{f.name} is {held}")
    return value


def peak_rss_mb() -> float:
    """The most memory this process has had resident, in MB.

    On Linux getrusage would also count what the parent held when it forked, so the kernel's own mark is read.
    """
    if _STATUS.exists():
        mark = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(mark.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
