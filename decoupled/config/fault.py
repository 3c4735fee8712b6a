"""A fault: something that goes wrong on purpose, and when."""

from typing import Literal

from pydantic import Field, model_validator

from decoupled.config.sections import WHOLE_MAX, Frozen


class Fault(Frozen):
    """Something that goes wrong on purpose, when `stage` gets to `microbatch`."""

    kind: Literal["kill", "stop", "drop", "delay", "partition"]
    stage: int = Field(ge=0)
    microbatch: int = Field(0, ge=0, le=WHOLE_MAX)
    seconds: float | None = Field(None, gt=0, le=1e9)  # that it lasts; None: to the end
    share: float | None = Field(None, gt=0, lt=1)  # drop: of the gradients that come to the stage
    ms: float | None = Field(None, gt=0, le=60_000)  # delay: of every message that comes to the stage

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "Fault":
        needed = {"drop": "share", "delay": "ms", "partition": "seconds"}.get(self.kind)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"{self.kind} needs {needed}, as in {self.kind}:stage={self.stage},{needed}=...")
        for name, kinds in {"share": ("drop",), "ms": ("delay",), "seconds": ("stop", "drop", "delay", "partition")}.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{self.kind} has no {name}")
        return self

    def __str__(self) -> str:
        """As the command line takes it."""
        given = {name: value for name, value in self.model_dump(exclude={"kind"}).items() if value is not None}
        return f"{self.kind}:{','.join(f'{name}={value}' for name, value in given.items())}"
