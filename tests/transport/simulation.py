"""Endpoints on a simulated network, and what has arrived at them."""

from decoupled.transport.interface import Limits, Received
from decoupled.transport.simulated import Faults, SimulatedNetwork, SimulatedTransport
from decoupled.wire.messages import Kind

HINTS, FACTS = Kind.GRADIENT, Kind.ACTIVATION


def pair(seed: int = 0, faults: Faults | None = None) -> tuple[SimulatedNetwork, SimulatedTransport, SimulatedTransport]:
    """A network with `upper`, which is linked to `lower` as its peer "lower"."""
    network = SimulatedNetwork(seed, faults)
    upper, lower = network.endpoint(), network.endpoint()
    upper.bind("a")
    lower.bind("b")
    upper.limits = Limits(high_water_mark=1000)
    upper.connect("lower", "b", "upper")
    return network, upper, lower


def numbers(endpoint: SimulatedTransport) -> list[int]:
    """The microbatches of what has arrived."""
    return [arrival.message.microbatch for arrival in endpoint.poll(0) if isinstance(arrival, Received)]


def three() -> tuple[SimulatedNetwork, SimulatedTransport, SimulatedTransport, SimulatedTransport]:
    """A network with `middle`, which is linked to `lower`, and `upper`, which is linked to `middle`."""
    network = SimulatedNetwork()
    upper, middle, lower = (network.endpoint() for _ in range(3))
    for endpoint, address in ((upper, "a"), (middle, "b"), (lower, "c")):
        endpoint.bind(address)
    upper.connect("below", "b", "above")
    middle.connect("below", "c", "above")
    return network, upper, middle, lower
