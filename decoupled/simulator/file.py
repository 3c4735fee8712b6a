"""The file of a network: devices and links in TOML, read into a `Network` of seconds and megabits."""

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from decoupled.errors import UsageError
from decoupled.simulator.network import Coordinator, Costs, Device, Link, Network, Sizes

STAGES_MAX = 1024
MBIT = 8  # of a megabyte
HEADER_MB = 0.0003  # about as much as a message has beside its arrays
TIME_MAX = 1e9
MB_MAX = 1e9
MBIT_MIN = 1e-3
FAILURE_H_MIN = 1e-3
RULE = "one leads to each, the first from the coordinator; only the last row may be without count, and is for all the rest"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class _Work(_Table):
    """What a stage does with a microbatch on a device of speed 1, and what it sends."""

    samples: int = Field(1, ge=1)  # in a microbatch
    forward_ms: float = Field(ge=1e-6, le=TIME_MAX)
    backward_ms: float = Field(ge=1e-6, le=TIME_MAX)  # down to the weights' gradients
    input_gradient_ms: float = Field(0.0, ge=0, le=TIME_MAX)  # on top of it, where it is sent up
    update_ms: float = Field(0.0, ge=0, le=TIME_MAX)
    synthesize_ms: float = Field(0.0, ge=0, le=TIME_MAX)  # a gradient, by the head
    refine_ms: float = Field(0.0, ge=0, le=TIME_MAX)  # the head, by a gradient that came back
    activation_mb: float = Field(0.0, ge=0, le=MB_MAX)  # of a microbatch, with its targets
    gradient_mb: float | None = Field(None, ge=0, le=MB_MAX)  # None: as many
    state_mb: float = Field(0.0, ge=0, le=MB_MAX)  # of a stage, in a checkpoint


class _Coordinator(_Table):
    feed_ms: float = Field(0.0, ge=0, le=TIME_MAX)  # to prepare a microbatch
    upload_mbit: float | None = Field(None, ge=MBIT_MIN)  # None: without limit
    download_mbit: float | None = Field(None, ge=MBIT_MIN)
    checkpoint_s: float | None = Field(None, ge=1e-3)  # from one to the next; None: only after a worker was replaced


class _Devices(_Table):
    """So many in a row that are alike."""

    count: int = Field(1, ge=1, le=STAGES_MAX)
    speed: float = Field(1.0, ge=1e-3, le=1e3)
    upload_mbit: float | None = Field(None, ge=MBIT_MIN)  # for all that a device sends
    failure_h: float | None = Field(None, ge=FAILURE_H_MIN)  # mean time between failures; None: never
    recovery_s: float = Field(0.0, ge=0, le=TIME_MAX)  # until a replacement asks for the state


class _Links(_Table):
    """So many in a row that are alike; the first leads from the coordinator to the first device."""

    count: int | None = Field(None, ge=1, le=STAGES_MAX)  # None: all the rest
    latency_ms: float = Field(0.0, ge=0, le=TIME_MAX)
    jitter_ms: float = Field(0.0, ge=0, le=TIME_MAX)  # up to so much more, by chance
    mbit: float | None = Field(None, ge=MBIT_MIN)  # each way


class NetworkFile(_Table):
    """The whole file."""

    work: _Work
    devices: list[_Devices] = Field(min_length=1)
    links: list[_Links] = Field(default_factory=lambda: [_Links()], min_length=1)
    coordinator: _Coordinator = Field(default_factory=_Coordinator)

    @property
    def samples(self) -> int:
        """In a microbatch."""
        return self.work.samples

    @model_validator(mode="after")
    def _fits(self) -> "NetworkFile":
        devices, links = sum(row.count for row in self.devices), [row.count for row in self.links]
        if devices > STAGES_MAX:
            raise ValueError(f"{devices:,} devices are too many: at most {STAGES_MAX:,}")
        given = sum(count or 0 for count in links)
        if None in links[:-1] or given > devices or (given < devices and links[-1] is not None):
            raise ValueError(f"{given} links do not fit {devices} devices: {RULE}")
        return self

    def network(self) -> Network:
        """In seconds and megabits."""
        devices = [_device(self.work, row) for row in self.devices for _ in range(row.count)]
        work, coordinator = self.work, self.coordinator
        gradient_mb = work.activation_mb if work.gradient_mb is None else work.gradient_mb
        return Network(
            devices,
            _links(self.links, len(devices)),
            Sizes(*(mb * MBIT for mb in (work.activation_mb, gradient_mb, work.state_mb, HEADER_MB))),
            Coordinator(
                coordinator.feed_ms / 1000,
                _or_endless(coordinator.upload_mbit),
                _or_endless(coordinator.download_mbit),
                _or_endless(coordinator.checkpoint_s),
            ),
        )


def read(path: Path) -> NetworkFile:
    """The file's values. Raises UsageError, which names the place, where it is not the file of a network."""
    try:
        return NetworkFile(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a network: {error}.") from None
    except ValidationError as error:
        raise UsageError(f"{path}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors()[0]
    where, what = _place(first["loc"]), first["msg"].removeprefix("Value error, ")
    if not where:
        return f"{what}."
    if first["type"] == "extra_forbidden":
        return f"there is no {where}."
    if first["type"] == "missing":
        return f"{where} is missing."
    return f"{where}: {what[0].lower()}{what[1:]}, not {first['input']!r:.60}."


def _place(path: Sequence[int | str]) -> str:
    """Such as `devices.speed in row 2`; rows count from 1."""
    name = ".".join(part for part in path if isinstance(part, str))
    rows = [part + 1 for part in path if isinstance(part, int)]
    return f"{name} in row {rows[0]}" if rows else name


def _device(work: _Work, row: _Devices) -> Device:
    times = (work.forward_ms, work.backward_ms, work.input_gradient_ms, work.update_ms, work.refine_ms, work.synthesize_ms)
    failure_s = math.inf if row.failure_h is None else row.failure_h * 3600
    return Device(Costs(*(ms / 1000 / row.speed for ms in times)), _or_endless(row.upload_mbit), failure_s, row.recovery_s)


def _links(rows: Sequence[_Links], devices: int) -> list[Link]:
    links: list[Link] = []
    for row in rows:
        count = devices - len(links) if row.count is None else row.count
        links += [Link(row.latency_ms / 1000, row.jitter_ms / 1000, _or_endless(row.mbit))] * count
    return links


def _or_endless(value: float | None) -> float:
    return math.inf if value is None else value
