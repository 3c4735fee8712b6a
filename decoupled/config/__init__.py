"""Configuration: a run as one frozen, checked value, and its TOML.

May import: pydantic, the registries of nn and schedules, and limits of the wire.
Must not know: what is done with the values.
"""

from decoupled.config.fault import Fault
from decoupled.config.run import GIVEN, OF_ROWS, PIPELINES, Run
from decoupled.config.sections import WITH_MOMENTUM, CheckpointOptions, EmulationOptions, LinkOptions
from decoupled.config.text import assignments, fault, from_toml, merged, to_toml

__all__ = [
    "GIVEN",
    "OF_ROWS",
    "PIPELINES",
    "WITH_MOMENTUM",
    "CheckpointOptions",
    "EmulationOptions",
    "Fault",
    "LinkOptions",
    "Run",
    "assignments",
    "fault",
    "from_toml",
    "merged",
    "to_toml",
]
