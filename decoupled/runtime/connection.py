"""The connection to the next stage: greets it, and says what its answers mean. A stage has one, and so has the feed.

Every link that is made has a name of its own, at both its ends, so what an old link still brings is told apart from what
the new one does.
"""

from operator import index

from decoupled.errors import RunFailed
from decoupled.schedules.events import CreditGranted, Event, GradientsEnded, PeerFinished, PeerJoined
from decoupled.tensors import TensorSpec
from decoupled.transport.interface import Transport
from decoupled.wire.messages import Kind, Message


def upstream_prefix(attempt_id: str) -> str:
    """What the names of all links to upstream stages begin with, at their lower end. Strangers cannot guess it."""
    return f"upstream-{attempt_id}-"


class Connection:
    """At most one link at a time; each has a number."""

    def __init__(self, transport: Transport, prefix: str, attempt_id: str, generation: int, gives: TensorSpec) -> None:
        """The links' names begin with `prefix` at this end, and microbatches as `gives` says go by them."""
        self._gives = gives
        self.peer = ""  # the link's name; "" while there is none
        self._transport, self._prefix, self._attempt_id, self._generation = transport, prefix, attempt_id, generation
        self._number = 0  # of the link, from 1

    def open(self, address: str, key: str) -> Message:
        """Makes a link to an inbox that has the public key `key`, in place of the one before; gives the greeting to send."""
        self.close()
        self._number += 1
        which = f"{self._generation}-{self._number}"
        self.peer = f"{self._prefix}-{self._attempt_id}-{which}"
        self._transport.connect(self.peer, address, f"{upstream_prefix(self._attempt_id)}{which}", key)
        return Message(Kind.HELLO, body={"link": self._number})

    def close(self) -> None:
        """Ends the link, if there is one."""
        if self.peer:
            self._transport.disconnect(self.peer)
            self.peer = ""

    def event(self, message: Message) -> Event | None:
        """What a message by this link means for a schedule, or None. Gradients are left to whoever holds their passes.

        Raises KeyError, TypeError or ValueError when it is malformed, and RunFailed when the next stage takes something else.
        """
        match message.kind:
            case Kind.WINDOW:
                takes = TensorSpec.from_body(message.body["takes"])
                if not takes.accepts(self._gives):
                    raise RunFailed(
                        f"Stage {message.stage} takes {takes}, but is given {self._gives}: "
                        "the two stages are not of the same model. Start all workers with the same code."
                    )
                return PeerJoined(_positive(message, "count"), max(index(message.body["room"]), 0))
            case Kind.CREDIT:
                return CreditGranted(_positive(message, "count"), max(index(message.body["waiting"]), 0))
            case Kind.GRADIENTS_ENDED:
                return GradientsEnded(message.microbatch)
            case Kind.FINISHED:
                return PeerFinished()
        return None


def _positive(message: Message, name: str) -> int:
    if (number := index(message.body[name])) < 1:
        raise ValueError(f"a {name} of {number}")
    return number
