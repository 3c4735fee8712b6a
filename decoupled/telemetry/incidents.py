"""Incidents: what went wrong in a run and what came of it, for whoever watches and for the report."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incident:
    """Something out of the ordinary."""

    seconds: float  # since training began
    stage: int | None  # None: the whole run
    what: str  # lost, still waiting, silent, back, link down, rejoined, rolled back, resumed
    detail: str

    def __str__(self) -> str:
        where = "" if self.stage is None else f"stage {self.stage} "
        return f"{where}{self.what}: {self.detail}" if self.detail else f"{where}{self.what}"
