"""Spans written by hand."""

from decoupled.schedules.actions import (
    Action,
    Answer,
    Backward,
    Drop,
    EndFeed,
    Evaluate,
    Evict,
    Fence,
    Forward,
    Refine,
    Send,
    Skip,
    Snapshot,
    Source,
    Update,
)
from decoupled.telemetry.spans import Rows, Spans

ACTIONS: dict[str, Action] = {
    "forward": Forward(3),
    "backward": Backward(3, Source.TRUE, send=True),
    "synthetic": Backward(3, Source.SYNTHETIC, send=False),
    "update": Update(),
    "refine": Refine(3),
    "evaluate": Evaluate(3),
    "evict": Evict(3),
    "send": Send(3),
    "drop": Drop(3),
    "snapshot": Snapshot(3),
    "endfeed": EndFeed(),
    "skip": Skip(3),
    "fence": Fence(3),
    "answer": Answer(3),
}


def spans(*edges: tuple[int, int], kind: str = "forward") -> Rows:
    """One span from each start to each end, in ns."""
    made = Spans()
    for start, end in edges:
        made.add(ACTIONS[kind], start, end)
    return made.take()
