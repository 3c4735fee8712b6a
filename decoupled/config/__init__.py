"""The room for what a run is: one frozen, checked value, and its forms in words.

May know: values, and what makes them fit one another.
Must never know: what is done with them.
"""

from decoupled.config.run import (
    GIVEN,
    PIPELINES,
    CheckpointOptions,
    Fault,
    LinkOptions,
    Run,
)
from decoupled.config.text import assignments, fault, from_toml, merged, to_toml

__all__ = [
    "GIVEN",
    "PIPELINES",
    "CheckpointOptions",
    "Fault",
    "LinkOptions",
    "Run",
    "assignments",
    "fault",
    "from_toml",
    "merged",
    "to_toml",
]
