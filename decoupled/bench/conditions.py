"""Conditions under which every side runs: one value on one axis, such as a link latency of 5 ms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from decoupled.config import Run
from decoupled.errors import UsageError
from decoupled.schedules.catalogue import is_decoupled

Axis: TypeAlias = Literal["", "latency", "bandwidth", "straggler", "drop", "workers"]

LABELS: dict[Axis, str] = {
    "": "",
    "latency": "link latency (ms each way)",
    "bandwidth": "link bandwidth (Mbit/s each way)",
    "straggler": "slow-down of one stage",
    "drop": "share of gradients lost",
    "workers": "workers",
}


PATIENCE_S = 1.0  # where gradients get lost: a later one shows that one is missing, but after the last there is no later one


@dataclass(frozen=True, slots=True)
class Condition:
    """One value on an axis; the axis "" is the run as it is."""

    axis: Axis
    value: float
    stage: int = 0  # the slow one, on the axis of stragglers

    @property
    def name(self) -> str:
        """A short name that can stand in a file's."""
        return f"{self.axis}-{self.value:g}" if self.axis else "as-is"

    @property
    def words(self) -> str:
        """The value with its unit, for tables."""
        value = f"{self.value:g}"
        return {
            "": "",
            "latency": f"{value} ms",
            "bandwidth": f"{value} Mbit/s",
            "straggler": f"stage {self.stage} x{value}",
            "drop": f"{self.value:.0%} lost",
            "workers": f"{value} workers",
        }[self.axis]

    def applied(self, run: Run) -> Run:
        """The run under this condition. Raises UsageError where it does not fit the run."""
        match self.axis:
            case "":
                return run
            case "latency":
                return _emulating(run, latency_ms=self.value)
            case "bandwidth":
                return _emulating(run, bandwidth_mbit=self.value)
            case "straggler":
                return _emulating(run, straggler=self.stage, straggler_factor=self.value)
            case "drop":
                return changed(_emulating(run, drop=self.value), dni=run.dni.model_dump() | {"patience_s": PATIENCE_S})
            case "workers":
                return _with_workers(run, round(self.value))

    def admits(self, schedule: str, run: Run) -> bool:
        """Whether it changes anything for that schedule. A side for which no condition does runs once, as it is."""
        match self.axis:
            case "":
                return True
            case "drop":
                return is_decoupled(schedule)
            case "workers":
                return schedule != "single" or run.emulation.device_ms is not None
            case _:
                return schedule != "single"


AS_IS = Condition("", 0)


def parse(
    latencies: str | None, straggler: str | None, drops: str | None, workers: str | None, bandwidths: str | None = None
) -> list[Condition]:
    """The conditions that the options name, the run as it is if they name none. Raises UsageError for another form."""
    conditions = [Condition("latency", value) for value in numbers("--link-latency-ms", latencies, 0, 60_000)]
    conditions += [Condition("bandwidth", value) for value in numbers("--link-bandwidth-mbit", bandwidths, 0.1, 1e6)]
    if straggler is not None:
        stage, colon, factors = straggler.partition(":")
        if not colon or not stage.strip().isdecimal():
            raise UsageError(f"--straggler takes STAGE:FACTOR, such as 3:5 or 3:1,2,5, not {straggler!r}.")
        conditions += [Condition("straggler", f, int(stage)) for f in numbers("--straggler", factors, 1, 1000)]
    conditions += [Condition("drop", value) for value in numbers("--drop", drops, 0, 0.99)]
    counts = numbers("--workers", workers, 1, 64)
    if any(not value.is_integer() for value in counts):
        raise UsageError(f"--workers takes whole numbers such as 2,4,8, not {workers!r}.")
    conditions += [Condition("workers", value) for value in counts]
    return conditions or [AS_IS]


def numbers(option: str, text: str | None, least: float, most: float) -> Sequence[float]:
    """The numbers of such an option, in order; none where it is not given. Raises UsageError for others."""
    if text is None:
        return ()
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} takes numbers such as 1,2,5, not {text!r}.") from None
    if not all(least <= value <= most for value in values):
        raise UsageError(f"{option} takes numbers from {least:g} to {most:g}, not {text!r}.")
    return sorted(set(values))


def _emulating(run: Run, **values: Any) -> Run:
    return changed(run, emulation=run.emulation.model_dump() | values)


def _with_workers(run: Run, workers: int) -> Run:
    """As many workers; on emulated devices as many layers, so that each device has one, or one process has them all."""
    own = None if run.schedule == "single" else workers
    if run.emulation.device_ms is None:
        return changed(run, workers=own)
    if run.model != "mlp":
        raise UsageError(
            f"A layer for each of several numbers of emulated devices is for mlp; {run.model} has the layers it has."
        )
    width = run.hidden[0] if run.hidden else 256
    return changed(run, hidden=(width,) * (workers - 1), workers=own)


def changed(run: Run, **values: Any) -> Run:
    """The run with other values, validated again."""
    return Run(**run.model_dump() | values)
