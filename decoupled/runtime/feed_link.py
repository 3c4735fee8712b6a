"""The feed link: what the first stage has for an upstream neighbour. It sends what the stream gives, as far as there is room."""

from collections.abc import Callable
from dataclasses import replace
from operator import index

from decoupled.runtime.assignment import upstream_name
from decoupled.runtime.checkpoints import CheckpointCoordinator
from decoupled.runtime.data_stream import DataStream
from decoupled.transport.interface import Transport
from decoupled.wire.messages import Kind, Message

FIRST = "first"  # the coordinator's name for the first stage's inbox


class FeedLink:
    """One attempt's feed and the link it goes by."""

    def __init__(
        self,
        attempt_id: str,
        stream: DataStream,
        checkpoints: CheckpointCoordinator,
        transport: Transport,
        clock: Callable[[], float],
    ) -> None:
        self.stream, self.epoch = stream, 1
        self._attempt_id, self._checkpoints, self._transport, self._clock = attempt_id, checkpoints, transport, clock
        self._room = 0  # microbatches that fit the first stage's inbox
        self._links = 0
        self._is_linked = self._has_ended = False
        self.may_mark = True  # every stage is there to pass a marker on

    def link(self, address: str, key: str) -> None:
        """Goes by a new link to the first stage, which may be another worker than before."""
        self.unlink()
        self._links += 1
        self._transport.connect(FIRST, address, upstream_name(self._attempt_id, 0, self._links), key)
        self._send(Message(Kind.HELLO, body={"link": self._links}))

    @property
    def is_in_use(self) -> bool:
        """The attempt has begun."""
        return self._links > 0

    def unlink(self) -> None:
        """The first stage's worker has gone; nothing is fed until there is another."""
        self._transport.disconnect(FIRST)
        self._room, self._is_linked, self._has_ended = 0, False, False

    def receive(self, message: Message) -> None:
        """What the first stage says to its upstream."""
        match message.kind:
            case Kind.WINDOW if message.body.get("link") == self._links:
                self._room, self._is_linked = max(index(message.body["room"]), 0), True
            case Kind.CREDIT if self._is_linked:
                self._room += index(message.body["count"])

    def feed(self) -> None:
        """Sends what fits, with markers where they are due; and the end, when every evaluation is back."""
        while self._is_linked and self._feed_one():
            pass
        if self._is_linked and self.stream.exhausted and not self._has_ended:
            self._has_ended = True
            self._send(Message(Kind.FEED_ENDED))

    def _feed_one(self) -> bool:
        if self.may_mark and not self.stream.exhausted and self._checkpoints.wants_marker(self.stream, self._clock()):
            self._send(Message(Kind.MARKER, microbatch=self._checkpoints.mark(self.stream, self._clock())))
        item = self.stream.take() if self._room > 0 else None
        if item is None:
            return False
        self.epoch, self._room = item.epoch, self._room - 1
        body = {"training": item.training, "ends_minibatch": item.ends_minibatch}
        self._send(Message(Kind.ACTIVATION, microbatch=item.microbatch, body=body, tensors=(item.x, item.y)))
        return True

    def _send(self, message: Message) -> None:
        self._transport.send(FIRST, replace(message, run=self._attempt_id))
