"""Fuzzes a whole cluster: strangers and its own members send what they should not, at any moment of a run.

Strangers may change nothing: the run ends with the very weights that it has without them. A member's message may be
ignored or end the run with a sentence. Any other error is a finding.
"""

import contextlib
from dataclasses import dataclass, replace

from decoupled.errors import DecoupledError
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster
from tests.fuzz.forge import Choices, warped
from tests.fuzz.originals import dataset, originals, small

SCHEDULES = ("dni", "lockstep", "gpipe")
TURNS_MAX = 80  # enough for a whole run
INPUT_BYTES_MAX = 512


@dataclass(frozen=True, slots=True)
class Blow:
    """What a stranger does after so many turns of the cluster: it sends a message, or it goes away."""

    turns: int
    stranger: str
    target: str
    message: Message | None

    def strike(self, cluster: Cluster) -> None:
        here = f"memory://{self.stranger}"
        if self.message is None:
            cluster.network.crash(here)
        else:
            cluster.network.link(here, self.target, self.target, self.stranger)
            cluster.network.carry(here, self.target, self.message)


def strangers(choices: Choices) -> None:
    """A run among strangers is the run without them."""
    run, blows = small(choices.pick(SCHEDULES)), []
    while choices.are_left:
        target = choices.pick(("memory://coordinator", "memory://0", "memory://1", "memory://2"))
        original = choices.pick(originals())
        message = choices.pick((warped(choices, original), original, None))
        blows.append(Blow(choices.below(6), f"stranger-{choices.below(40)}", target, message))
    alone, among = Cluster(run, dataset()), Cluster(run, dataset())
    for blow in blows:
        for _ in range(blow.turns):
            alone.advance()
            among.advance()
        blow.strike(among)
    for name in {blow.stranger for blow in blows}:
        among.network.crash(f"memory://{name}")  # or what was said to them would lie there for ever
    alone.run()
    among.run()
    expected, found = alone.coordinator.report(), among.coordinator.report()
    assert not found.incidents
    assert [(d.samples, d.generation) for d in found.workers_detail] == [(d.samples, 0) for d in expected.workers_detail]
    for name, weights in expected.network.arrays.items():
        assert (found.network.arrays[name] == weights).all(), name


def members(choices: Choices) -> None:
    """Any process that has a part in the run sends what it should not; the run goes on, or ends with a sentence."""
    cluster = Cluster(small(choices.pick(SCHEDULES)), dataset())
    with contextlib.suppress(DecoupledError):
        _advance(cluster, choices.below(40))
        while choices.are_left:
            sender, peer = choices.pick(sorted(cluster.network.links))
            message = warped(choices, choices.pick(originals()))
            if not _is_ruinous(message):
                cluster.network.carry(sender, peer, replace(message, run=cluster.coordinator.group.attempt.attempt_id))
            _advance(cluster, choices.below(12))
        _advance(cluster, TURNS_MAX)
        if cluster.coordinator.is_done:
            cluster.coordinator.report().to_json()


def _advance(cluster: Cluster, turns: int) -> None:
    for _ in range(turns):
        if cluster.coordinator.is_done:
            return
        cluster.advance()
    cluster.coordinator.progress()


def _is_ruinous(message: Message) -> bool:
    """What is in order and means harm: a stage as big as the machine, a fault plan, a fault. Workers trust their coordinator."""
    return message.kind is Kind.FAULT or (message.kind is Kind.ASSIGN and any(n > 64 for n in _numbers(message.body)))


def _numbers(value: object) -> list[float]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, int | float) else [number for one in inner for number in _numbers(one)]


def seeds() -> list[bytes]:
    """Inputs to begin with: a few of each kind of run, of bytes that follow one another in many ways."""
    return [bytes((start + step * at) % 256 for at in range(64)) for start in range(8) for step in (1, 3, 7)]


def one_input(data: bytes) -> None:
    """One run, disturbed as the bytes say."""
    choices = Choices(data)
    choices.pick((strangers, members))(choices)
