"""A cluster in the midst of its run, and those who say to it what they should not."""

from dataclasses import replace

from decoupled.transport.simulated import SimulatedTransport
from decoupled.wire.messages import Message
from tests.cluster import Cluster
from tests.fuzz.originals import dataset, small


def training(schedule: str = "dni") -> Cluster:
    """A cluster in the midst of its run."""
    cluster = Cluster(small(schedule), dataset())
    cluster.assemble()
    for _ in range(4):
        cluster.advance()
    return cluster


def says(cluster: Cluster, sender: str, peer: str, message: Message) -> None:
    cluster.network.carry(sender, peer, replace(message, run=cluster.coordinator.group.attempt.attempt_id))


def stranger(cluster: Cluster, target: str, name: str = "stranger") -> SimulatedTransport:
    endpoint = cluster.network.endpoint()
    endpoint.bind(f"memory://{name}")
    endpoint.connect("victim", target, name)
    return endpoint
