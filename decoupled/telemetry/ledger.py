"""The ledger of samples: of every microbatch that was fed to train on, which stages trained on it and which missed it."""

from dataclasses import dataclass
from typing import Any

from decoupled.telemetry.ranges import Ranges


@dataclass(frozen=True, slots=True)
class SampleLedger:
    """The coordinator's list of what it fed, beside each stage's own list of what its weights have learnt from."""

    fed: Ranges
    trained: tuple[Ranges, ...]

    def missed(self, stage: int) -> Ranges:
        """What was fed and the stage did not train on, or forgot when its worker was replaced."""
        return self.fed.without(self.trained[stage])

    def to_json(self) -> dict[str, Any]:
        """First and last numbers of each stretch of microbatches."""
        stages = [
            {"stage": stage, "trained": _pairs(trained), "missed": _pairs(self.missed(stage))}
            for stage, trained in enumerate(self.trained)
        ]
        return {"fed": _pairs(self.fed), "stages": stages}


def _pairs(ranges: Ranges) -> list[list[int]]:
    return [[first, last] for first, last in ranges]
