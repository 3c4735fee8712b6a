"""The performer: carries out a schedule's actions on a stage, and says what is to be sent because of them.

It holds what the schedule only names: arrived activations, the stash of passes, returned gradients. No sockets, no clock.
"""

from dataclasses import dataclass
from typing import TypeAlias

from decoupled.nn.scores import sums
from decoupled.nn.stage import Pass, Stage
from decoupled.runtime.chunks import into_chunks
from decoupled.schedules.actions import (
    Action,
    Backward,
    Drop,
    EndFeed,
    Evaluate,
    Evict,
    Forward,
    Refine,
    Send,
    Snapshot,
    Source,
    Update,
)
from decoupled.schedules.interface import Place
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.ranges import Ranges
from decoupled.tensors import Array, Tensors
from decoupled.wire.codec import MESSAGE_BYTES_MAX
from decoupled.wire.messages import Kind, Message

UPSTREAM, DOWNSTREAM, COORDINATOR = "upstream", "downstream", "coordinator"

Outgoing: TypeAlias = tuple[str, Message]

CREDIT = Message(Kind.CREDIT)  # what was taken from the inbox leaves room for one
TRAINED = "trained"  # among a stage's arrays: first and last number of each stretch of microbatches it trained on


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """A microbatch in the inbox."""

    x: Tensors
    targets: Tensors
    ends_minibatch: bool


@dataclass(slots=True, eq=False)
class Held:
    """A microbatch between its forward pass and the end of its use."""

    passed: Pass
    targets: Tensors
    version: int  # of the forward pass
    gradients: Tensors | None = None  # of the outputs: the loss's, or the returned ones
    is_used: bool = False  # the gradients, for a backward pass or to refine


class StageExecutor:
    """One stage at work."""

    def __init__(self, stage: Stage, place: Place, counters: Counters, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self.stage, self.counters, self._message_bytes_max = stage, counters, message_bytes_max
        self._place = place
        self._arrived: dict[int, Arrived] = {}
        self._held: dict[int, Held] = {}
        self._unsent: dict[int, Outgoing] = {}  # outputs that wait for room downstream
        self._samples = 0  # in the backward passes since the update
        self.trained = Ranges()  # microbatches that the weights have learnt from

    def accept(self, microbatch: int, x: Tensors, targets: Tensors, ends_minibatch: bool = True) -> None:
        """Puts activations and their targets into the inbox."""
        self._arrived[microbatch] = Arrived(x, targets, ends_minibatch)

    def accept_gradients(self, microbatch: int, gradients: Tensors) -> bool:
        """Keeps returned gradients if their microbatch still waits for some; says whether it does."""
        held = self._held.get(microbatch)
        if held is None or held.gradients is not None or not self._are_those_of(gradients, held.passed.outputs):
            self.counters.unmatched_gradients += 1
            return False
        held.gradients = gradients
        return True

    def _are_those_of(self, gradients: Tensors, outputs: Tensors) -> bool:
        like = self.stage.outputs.differentiable(outputs)
        return [(one.shape, one.dtype) for one in gradients] == [(one.shape, one.dtype) for one in like]

    def restore(self, arrays: dict[str, Array]) -> None:
        """Goes on from what `state` gave. Raises ValueError when it is not that of such a stage."""
        self.trained = Ranges.from_array(arrays.get(TRAINED, Ranges().to_array()))
        self.stage.load_state_dict({name: array for name, array in arrays.items() if name != TRAINED})

    def state(self) -> dict[str, Array]:
        """Copies of all that a successor needs to go on from here."""
        return self.stage.state_dict() | {TRAINED: self.trained.to_array()}

    def result(self) -> list[Message]:
        """What came of it all."""
        arrays = self.stage.model_state() | {TRAINED: self.trained.to_array()}
        return into_chunks(Kind.RESULT, arrays, {}, message_bytes_max=self._message_bytes_max)

    def holds(self, microbatch: int) -> bool:
        """Whether the microbatch's forward pass is still needed."""
        return microbatch in self._held

    def perform(self, action: Action) -> list[Outgoing]:
        """Does what the schedule decided; gives the messages that follow from it."""
        outgoing = self._perform(action)
        self.counters.stash = len(self._held)
        return outgoing

    def _perform(self, action: Action) -> list[Outgoing]:
        match action:
            case Forward(m, send):
                return self._forward(m, send)
            case Backward(m, source, send, keep):
                return self._backward(m, source, send, keep)
            case Update():
                self.stage.step(self._samples)
                self.counters.updates += 1
                self.counters.samples += self._samples
                self._samples = 0
                return []
            case Refine(m):
                self._refine(self._held.pop(m))
                return []
            case Evaluate(m):
                return self._evaluate(m)
            case Evict(m):
                del self._held[m]
                self.counters.evicted += 1
                return []
            case Send() | Drop() | Snapshot() | EndFeed():
                return self._pass_on(action)

    def _pass_on(self, action: Send | Drop | Snapshot | EndFeed) -> list[Outgoing]:
        """What takes no computing."""
        match action:
            case Send(m):
                return [self._unsent.pop(m)]
            case Drop(m):
                del self._unsent[m]
                self.counters.dropped += 1
                return []
            case Snapshot(m):
                about = {"counters": self.counters.to_body()}
                pieces = into_chunks(Kind.SNAPSHOT, self.state(), about, m, self._message_bytes_max)
                return [(DOWNSTREAM, Message(Kind.MARKER, microbatch=m)), *((COORDINATOR, piece) for piece in pieces)]
            case EndFeed():
                return [(DOWNSTREAM, Message(Kind.FEED_ENDED))]

    def _forward(self, m: int, send: bool) -> list[Outgoing]:
        arrived = self._arrived.pop(m)
        targets = arrived.targets
        held = Held(self.stage.forward(arrived.x), targets, self.stage.version)
        self._held[m] = held
        if not self._place.is_last:
            body = {"training": True, "ends_minibatch": arrived.ends_minibatch}
            output = DOWNSTREAM, Message(Kind.ACTIVATION, microbatch=m, body=body, tensors=(*held.passed.outputs, *targets))
            if send:
                return [output, (UPSTREAM, CREDIT)]
            self._unsent[m] = output
            return [(UPSTREAM, CREDIT)]
        result = self.stage.loss(held.passed, targets)
        held.gradients = result.gradients
        self.counters.loss.add(result.value)
        if result.correct is not None:
            self.counters.accuracy.add(result.correct / len(targets[0]))
        return [(UPSTREAM, CREDIT)]

    def _evaluate(self, m: int) -> list[Outgoing]:
        arrived = self._arrived.pop(m)
        passed, targets = self.stage.forward(arrived.x, training=False), arrived.targets
        if not self._place.is_last:
            tensors = (*passed.outputs, *targets)
            return [
                (DOWNSTREAM, Message(Kind.ACTIVATION, microbatch=m, body={"training": False}, tensors=tensors)),
                (UPSTREAM, CREDIT),
            ]
        result = self.stage.loss(passed, targets)
        found = {"loss": result.value, "correct": result.correct}
        are_values = result.correct is None and passed.outputs[0].shape == targets[0].shape
        errors = (sums(passed.outputs[0], targets[0]),) if are_values else ()
        return [(COORDINATOR, Message(Kind.EVALUATED, microbatch=m, body=found, tensors=errors)), (UPSTREAM, CREDIT)]

    def _backward(self, m: int, source: Source, send: bool, keep: bool) -> list[Outgoing]:
        held = self._held[m]
        gradients = self.stage.synthesize(held.passed, held.targets) if source is Source.SYNTHETIC else self._true(held)
        dx = self.stage.backward(held.passed, gradients, want_dx=send)
        self.trained.add(m)
        self._samples += len(held.targets[0])
        if not keep:
            del self._held[m]
        return [(UPSTREAM, Message(Kind.GRADIENT, microbatch=m, tensors=dx))] if dx is not None else []

    def _refine(self, held: Held) -> None:
        quality = self.stage.refine(held.passed, held.targets, self._true(held))
        self.counters.refined += 1
        self.counters.head_cosine.add(quality.cosine)
        self.counters.head_norm_ratio.add(quality.norm_ratio)
        self.counters.head_relative_error.add(quality.relative_error)

    def _true(self, held: Held) -> Tensors:
        """The gradients of the loss, or those that came back; their first use tells how stale they were."""
        assert held.gradients is not None, "the schedule asked for a gradient that has not come"
        if not held.is_used and not self._place.is_last:
            self.counters.staleness.add(self.stage.version - held.version)
        held.is_used = True
        return held.gradients
