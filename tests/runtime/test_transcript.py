"""A run that a person can read: what each worker told the others, in order, compared with the kept transcript.

After a change that is meant to alter it: `python -m tests.runtime.test_transcript` writes it anew; read the difference.
"""

from pathlib import Path

import pytest

from decoupled.config import PIPELINES, Run
from decoupled.transport.simulated import SimulatedNetwork
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster
from tests.datasets import blobs

GOLDEN = Path(__file__).parent.parent / "golden"
SCHEDULES = ("dni", "lockstep", "gpipe", "1f1b")
SPOKEN = {Kind.ACTIVATION, Kind.GRADIENT, Kind.FEED_ENDED, Kind.FINISHED, Kind.EVALUATED}


def transcript(schedule: str, monkeypatch: pytest.MonkeyPatch) -> str:
    lines: list[str] = []
    names = {"memory://coordinator": "coordinator"} | {f"memory://{i}": f"worker {i}" for i in range(3)}
    carry = SimulatedNetwork.carry

    def listen(network: SimulatedNetwork, sender: str, peer: str, message: Message) -> None:
        if message.kind in SPOKEN:
            name = peer.split("-")[0]  # without the run's number
            because = f" after {message.cause}" if message.cause else ""
            lines.append(
                f"{network.now:4.1f}  {names.get(sender, sender)} to {name}: {message.kind.value} {message.microbatch}{because}"
            )
        carry(network, sender, peer, message)

    monkeypatch.setattr(SimulatedNetwork, "carry", listen)
    cut = {"batch": 20, "microbatches": 4} if schedule in PIPELINES else {"batch": 10}
    run = Run(hidden=(8, 8), epochs=1, schedule=schedule, feedback_every=2, link={"window": 16}, **cut)
    Cluster(run, blobs(train=40, test=10)).run()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_run_goes_as_it_is_written(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert transcript(schedule, monkeypatch) == (GOLDEN / f"{schedule}.txt").read_text()


if __name__ == "__main__":
    for name in SCHEDULES:
        with pytest.MonkeyPatch.context() as patch:
            (GOLDEN / f"{name}.txt").write_text(transcript(name, patch))
