"""Conditions under which every side runs: one value on one axis, such as a link latency of 5 ms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from decoupled.config import Run
from decoupled.errors import UsageError
from decoupled.schedules.catalogue import is_decoupled

Axis: TypeAlias = Literal["", "latency", "bandwidth", "slow-link", "straggler", "drop", "kill", "workers"]

LABELS: dict[Axis, str] = {
    "": "",
    "latency": "link latency (ms each way)",
    "bandwidth": "link bandwidth (Mbit/s each way)",
    "slow-link": "slow-down of one link",
    "straggler": "slow-down of one stage",
    "drop": "share of gradients lost",
    "kill": "seconds between kills (0: none)",
    "workers": "workers",
}


UNDISTURBED: dict[Axis, float] = {
    "latency": 0,
    "slow-link": 1,
    "straggler": 1,
    "drop": 0,
    "kill": 0,
}  # values that change nothing
RESTARTS_MAX = 1_000_000
PATIENCE_S = 1.0  # where gradients get lost: a later one shows that one is missing, but after the last there is no later one


@dataclass(frozen=True, slots=True)
class Condition:
    """One value on an axis; the axis "" is the run as it is."""

    axis: Axis
    value: float
    stage: int = 0  # the slow one, on the axis of stragglers, or the one above the slow link
    seconds: tuple[float, float] | None = None  # that a straggler is slow, of every so many; None: always

    @property
    def name(self) -> str:
        """A short name that can stand in a file's."""
        return f"{self.axis}-{self.value:g}" if self.axis else "as-is"

    @property
    def words(self) -> str:
        """The value with its unit, for tables."""
        value = f"{self.value:g}"
        at_times = f" for {self.seconds[0]:g} of {self.seconds[1]:g} s" if self.seconds and not self.is_undisturbed else ""
        return {
            "": "",
            "latency": f"{value} ms",
            "bandwidth": f"{value} Mbit/s",
            "slow-link": f"link {self.stage} to {self.stage + 1} x{value}",
            "straggler": f"stage {self.stage} x{value}{at_times}",
            "drop": f"{self.value:.0%} lost",
            "kill": f"a worker killed every {value} s" if self.value else "no worker killed",
            "workers": f"{value} workers",
        }[self.axis]

    @property
    def is_undisturbed(self) -> bool:
        """Whether the run is as it would be without the condition."""
        return UNDISTURBED.get(self.axis) == self.value

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
                for_s, every_s = self.seconds or (None, None)
                times = {"straggler_for_s": for_s, "straggler_every_s": every_s}
                return _emulating(run, straggler=self.stage, straggler_factor=self.value, **times)
            case "slow-link":
                return _emulating(run, link_factors=(1.0,) * self.stage + (self.value,))
            case "kill":
                return changed(_emulating(run, kill_every_s=self.value or None), supervision=_restarting(run))
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
    latencies: str | None,
    straggler: str | None,
    drops: str | None,
    workers: str | None,
    bandwidths: str | None = None,
    straggler_for: str | None = None,
    slow_link: str | None = None,
    kills: str | None = None,
) -> list[Condition]:
    """The conditions that the options name, the run as it is if they name none. Raises UsageError for another form."""
    conditions = [Condition("latency", value) for value in numbers("--link-latency-ms", latencies, 0, 60_000)]
    conditions += [Condition("bandwidth", value) for value in numbers("--link-bandwidth-mbit", bandwidths, 0.1, 1e6)]
    if slow_link is not None:
        stage, factors = _of_stage("--slow-link", slow_link)
        conditions += [Condition("slow-link", factor, stage) for factor in factors]
    if straggler_for is not None and straggler is None:
        raise UsageError("--straggler-for says when a straggler is slow, so give --straggler as well.")
    if straggler is not None:
        stage, factors = _of_stage("--straggler", straggler)
        conditions += [Condition("straggler", factor, stage, _times(straggler_for)) for factor in factors]
    conditions += [Condition("drop", value) for value in numbers("--drop", drops, 0, 0.99)]
    if kills is not None:
        conditions += [Condition("kill", value) for value in sorted({0.0, *numbers("--kill-every-s", kills, 0, 1e6)})]
    counts = numbers("--workers", workers, 1, 64)
    if any(not value.is_integer() for value in counts):
        raise UsageError(f"--workers takes whole numbers such as 2,4,8, not {workers!r}.")
    conditions += [Condition("workers", value) for value in counts]
    return conditions or [AS_IS]


def _of_stage(option: str, text: str) -> tuple[int, Sequence[float]]:
    stage, colon, factors = text.partition(":")
    if not colon or not stage.strip().isdecimal():
        raise UsageError(f"{option} takes STAGE:FACTOR, such as 1:5 or 1:1,2,5, not {text!r}.")
    return int(stage), numbers(option, factors, 1, 1000)


def _times(text: str | None) -> tuple[float, float] | None:
    """The seconds that a straggler is slow, and of every how many."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+\.?\d*)/(\d+\.?\d*)", text)
    if found is None or not 0 < float(found[1]) <= float(found[2]):
        raise UsageError(f"--straggler-for takes SECONDS/EVERY, such as 10/30, not {text!r}.")
    return float(found[1]), float(found[2])


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


def _restarting(run: Run) -> dict[str, Any]:
    """Workers that are killed on purpose are replaced at once, and as often as it takes."""
    return run.supervision.model_dump() | {"restarts_max": RESTARTS_MAX, "backoff_s": 0.0}


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
