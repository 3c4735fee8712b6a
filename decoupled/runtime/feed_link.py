"""The feed link: what the first stage has for an upstream neighbour. It sends what the stream gives, as far as there is room."""

from collections.abc import Callable
from dataclasses import replace

from decoupled.runtime.checkpoints import CheckpointCoordinator
from decoupled.runtime.connection import Connection
from decoupled.runtime.data_stream import DataStream
from decoupled.schedules.events import PeerLost
from decoupled.schedules.links import DownstreamLink
from decoupled.tensors import TensorSpec
from decoupled.transport.interface import Transport
from decoupled.wire.messages import Kind, Message

FEED = "feed"  # what the names of the coordinator's links to the first stage begin with


class FeedLink:
    """One attempt's feed and the link it goes by."""

    def __init__(
        self,
        attempt_id: str,
        stream: DataStream,
        checkpoints: CheckpointCoordinator,
        transport: Transport,
        clock: Callable[[], float],
        gives: TensorSpec,
    ) -> None:
        self.stream, self.epoch = stream, 1
        self.is_in_use = False  # the attempt has begun
        self.may_mark = True  # every stage is there to pass a marker on
        self.state = DownstreamLink()
        self._attempt_id, self._checkpoints, self._transport, self._clock = attempt_id, checkpoints, transport, clock
        self._connection = Connection(transport, FEED, attempt_id, 0, gives)

    @property
    def peer(self) -> str:
        """The link's name; "" while there is none."""
        return self._connection.peer

    def link(self, address: str, key: str) -> None:
        """Goes by a new link to the first stage, which may be another worker than before."""
        self.unlink()
        self.is_in_use = True
        self._send(self._connection.open(address, key))

    def unlink(self) -> None:
        """The first stage's worker has gone; nothing is fed until there is another."""
        self._connection.close()
        self.state.receive(PeerLost())

    def receive(self, message: Message) -> None:
        """What the first stage says to its upstream."""
        if (event := self._connection.event(message)) is not None:
            self.state.receive(event)

    def feed(self) -> None:
        """Sends what fits, with markers where they are due; and the end, when every evaluation is back."""
        while self.state.is_there and self._feed_one():
            pass
        if self.state.is_there and self.stream.exhausted and not self.state.knows_end:
            self.state.tell_end()
            self._send(Message(Kind.FEED_ENDED))

    def _feed_one(self) -> bool:
        if self.may_mark and not self.stream.exhausted and self._checkpoints.wants_marker(self.stream, self._clock()):
            self._send(Message(Kind.MARKER, microbatch=self._checkpoints.mark(self.stream, self._clock())))
        item = self.stream.take() if self.state.has_room else None
        if item is None:
            return False
        self.epoch = item.epoch
        self.state.spend()
        body = {"training": item.training, "ends_minibatch": item.ends_minibatch}
        self._send(Message(Kind.ACTIVATION, microbatch=item.microbatch, body=body, tensors=(item.x, item.y)))
        return True

    def _send(self, message: Message) -> None:
        self._transport.send(self.peer, replace(message, run=self._attempt_id))
