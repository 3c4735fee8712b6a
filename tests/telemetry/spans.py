"""Spans written by hand, and the metrics of a small run."""

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
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.evaluations import Part
from decoupled.telemetry.metrics import RunMetrics
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


def metrics() -> RunMetrics:
    made = RunMetrics(((0,), (1,)), epochs=2, train_samples=100, test_samples=10)
    last = Counters(1, samples=50, updates=5)
    last.loss.add(0.5)
    made.report(Counters(0, samples=60, dropped=3), spans((0, 600)), 1000)
    made.report(last, spans((400, 1000)), 1000)
    made.evaluations.add(Part(0.25, 9, 10), 10, epoch=1, seconds=2.0)
    return made
