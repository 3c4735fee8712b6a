"""The status client: asks a coordinator how things stand, over the very link that a worker would have, and takes no part."""

import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from decoupled.doctor.reachability import Talk
from decoupled.errors import DecoupledError
from decoupled.runtime.executor import COORDINATOR
from decoupled.runtime.status import Answer
from decoupled.telemetry.clock import now_ns
from decoupled.transport.interface import Received
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.messages import MALFORMED, Kind, Message

PATIENCE_S = 5.0  # with the first answer; a coordinator takes milliseconds
TRIES = 8  # of which the quickest tells the clocks best


def ask(coordinator: str, keys: Keys | None, clock_ns: Callable[[], int] = now_ns) -> Talk:
    """What comes of asking the coordinator at that address."""
    doubts: list[str] = []
    answered: list[Talk] = []
    transport = ZeroMQ(keys=keys, log=doubts.append, own=(COORDINATOR,))
    with closing(transport):
        try:
            transport.connect(
                COORDINATOR, coordinator, f"status-{uuid.uuid4().hex[:12]}", keys.known[0] if keys is not None else ""
            )
            while len(answered) < TRIES and (talk := _once(transport, clock_ns)) is not None:
                answered.append(talk)
        except DecoupledError as error:
            doubts.append(str(error))
        except MALFORMED:
            doubts.append(f"{coordinator} gave an answer that this version does not understand.")
        if transport.refused:
            doubts.append(f"{coordinator} answers by a protocol of another version.")
    return min(answered, key=lambda talk: talk.trip_ns, default=Talk(complaint=doubts[-1] if doubts else ""))


def _once(transport: ZeroMQ, clock_ns: Callable[[], int]) -> Talk | None:
    """One question and its answer, if it comes in time."""
    asked_ns, deadline = clock_ns(), time.monotonic() + PATIENCE_S
    transport.send(COORDINATOR, Message(Kind.ASK))
    while time.monotonic() < deadline:
        for arrival in transport.poll(0.1):
            heard_ns = clock_ns()
            if not isinstance(arrival, Received):
                return None  # it has gone
            if arrival.message.kind is Kind.ANSWER:
                answer = Answer.from_message(arrival.message)
                return Talk(answer, answer.at_ns - (asked_ns + heard_ns) // 2, heard_ns - asked_ns)
    return None


def can_listen(inbox: str, keys: Keys | None) -> str:
    """Opens an inbox there as a worker does, and closes it; gives its address. Raises UsageError when that cannot be."""
    try:
        with closing(ZeroMQ(keys=keys)) as transport:
            return transport.bind(inbox)
    finally:
        if inbox.startswith("ipc://"):
            Path(inbox.removeprefix("ipc://")).unlink(missing_ok=True)  # libzmq leaves the file
