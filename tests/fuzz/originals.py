"""What really travels in a run: a message of every kind, to be changed by whoever means harm."""

from functools import cache

import numpy as np

from decoupled.config import Run
from decoupled.data.dataset import Dataset
from decoupled.runtime.chunks import into_chunks
from decoupled.transport.simulated import SimulatedNetwork
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster
from tests.datasets import blobs


class _Tapped(SimulatedNetwork):
    """Remembers some of what it carries."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[tuple[Kind, str, int], Message] = {}

    def carry(self, sender: str, peer: str, message: Message) -> None:
        name = str(message.body.get("name", message.body.get("training", "")))
        self.heard.setdefault((message.kind, name, message.stage), message)
        super().carry(sender, peer, message)


@cache
def dataset() -> Dataset:
    return blobs(train=40, test=10)


def small(schedule: str) -> Run:
    """Three stages, done in milliseconds."""
    parts = {"microbatches": 2} if schedule == "gpipe" else {}
    return Run(hidden=(4, 4), epochs=1, batch=10, schedule=schedule, checkpoint={"every": 2}, **parts)


@cache
def originals() -> tuple[Message, ...]:
    """Every kind of message, most of them as they went over the wire in one run."""
    cluster = Cluster(small("dni"), dataset(), network=(network := _Tapped()))
    cluster.run()
    made = [Message(kind) for kind in Kind]
    made += [Message(Kind.REFUSE, body={"reason": "no"}), Message(Kind.NEIGHBOUR, body={"address": "memory://1"})]
    made += [Message(Kind.FAILED, body={"reason": "no"}), *into_chunks(Kind.STATE, {"a": np.zeros(3)}, {"counters": {}})]
    return (*network.heard.values(), *made)
