"""The executor: carries out a schedule's actions on a stage, and says what is to be sent because of them.

Its records hold what the schedule only names: inputs, passes, returned gradients, outputs that wait. No sockets, no clock.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from decoupled.errors import Diverged
from decoupled.nn.metrics import Metric, measured
from decoupled.nn.scores import sums
from decoupled.nn.stage import LossResult, Pass, Stage
from decoupled.runtime.chunks import into_chunks
from decoupled.runtime.publication import Publication
from decoupled.runtime.records import Record
from decoupled.schedules.actions import (
    Action,
    Answer,
    Backward,
    Drop,
    EndFeed,
    Evaluate,
    Evict,
    Fence,
    Forward,
    Refine,
    Send,
    Skip,
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

TRAINED = "trained"  # among a stage's arrays: first and last number of each stretch of microbatches it trained on


class StageExecutor:
    """One stage at work."""

    def __init__(
        self,
        stage: Stage,
        place: Place,
        counters: Counters,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        publish_every: int | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        """The last stage measures the metrics, and publishes what heads read of it, if any do, every so many updates."""
        self.stage, self.counters, self._message_bytes_max = stage, counters, message_bytes_max
        self._place, self._publish_every, self._metrics = place, publish_every, metrics or {}
        self._publication = Publication()
        self.records: dict[int, Record] = {}  # in flight, in the order they came
        self._samples = 0  # in the backward passes since the update
        self.trained = Ranges()  # microbatches that the weights have learnt from

    def accept_gradients(self, microbatch: int, gradients: Tensors, is_true: bool = True) -> bool:
        """Keeps returned gradients if their microbatch still waits for some; says whether it does.

        They are true when no stage below has guessed them.
        """
        record = self.records.get(microbatch)
        if record is None or record.gradients is not None or not self._are_those_of(gradients, record.passed):
            self.counters.unmatched_gradients += 1
            return False
        record.gradients, record.is_true = gradients, is_true
        return True

    def _are_those_of(self, gradients: Tensors, passed: Pass | None) -> bool:
        like = self.stage.outputs.differentiable(passed.outputs) if passed is not None else None
        return like is not None and [(g.shape, g.dtype) for g in gradients] == [(one.shape, one.dtype) for one in like]

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

    @property
    def stash(self) -> int:
        """How many microbatches wait for a gradient, or for the end of their use."""
        return sum(record.passed is not None for record in self.records.values())

    def perform(self, action: Action) -> list[Outgoing]:
        """Does what the schedule decided; gives the messages that follow from it."""
        match action:
            case Update():
                self._update()
                return self._up(self._publication.offer(self.stage.published())) if self._publishes else []
            case Snapshot() | Fence() | Answer() | EndFeed():
                return self._tell(action)
            case _:
                record = self.records[action.microbatch]
                outgoing = self._work(action, record)
                if record.is_over:
                    del self.records[action.microbatch]
                return outgoing

    def _work(self, action: Action, record: Record) -> list[Outgoing]:
        """What changes a microbatch's record."""
        match action:
            case Forward(m, send, wants_gradient):
                return self._forward(m, record, send, wants_gradient)
            case Backward():
                return self._go_back(action, record)
            case Evaluate(m):
                return self._evaluate(m, record)
            case Send():
                return [_output(record)]
            case Refine():
                self._refine(record)
            case Evict():
                record.passed = None
                if record.guess is not None:  # it stays a guess
                    self.counters.truth.add(0.0)
                self.counters.evicted += 1
            case Drop():
                record.output = None
                self.counters.dropped += 1
            case Skip():
                record.x = None
        return []

    def _tell(self, action: Snapshot | Fence | Answer | EndFeed) -> list[Outgoing]:
        """What takes no computing."""
        match action:
            case Snapshot(m):
                about = {"counters": self.counters.to_body()}
                pieces = into_chunks(Kind.SNAPSHOT, self.state(), about, m, self._message_bytes_max)
                return [(DOWNSTREAM, Message(Kind.MARKER, microbatch=m)), *((COORDINATOR, piece) for piece in pieces)]
            case Fence(m):
                return [(DOWNSTREAM, Message(Kind.FENCE, microbatch=m))]
            case Answer(m):
                return [(UPSTREAM, Message(Kind.GRADIENTS_ENDED, microbatch=m))]
            case EndFeed():
                return [(DOWNSTREAM, Message(Kind.FEED_ENDED))]

    def _update(self) -> None:
        self.stage.step(self._samples)
        self.counters.updates += 1
        self.counters.samples += self._samples
        self._samples = 0

    @property
    def _publishes(self) -> bool:
        """It is time to."""
        return self._place.is_last and self._publish_every is not None and self.stage.version % self._publish_every == 0

    def welcome(self) -> list[Outgoing]:
        """To the stage before by a new link: the newest of what the last stage publishes, if there is some."""
        if self._place.is_last and self._publish_every is not None:
            self._publication.offer(self.stage.published())
        return self._up(self._publication.renewed())

    def adopt(self, published: Tensors) -> list[Outgoing]:
        """Takes over what the last stage published, says so, and passes it on. Raises ValueError when it is not that."""
        self.stage.adopt(published)
        return [(DOWNSTREAM, Message(Kind.ADOPTED)), *self._up(self._publication.offer(published))]

    def adopted(self) -> list[Outgoing]:
        """The stage before has taken over what it was sent: if there is newer, it goes now."""
        return self._up(self._publication.taken())

    def _up(self, published: Tensors) -> list[Outgoing]:
        return [(UPSTREAM, Message(Kind.PUBLISHED, tensors=published))] if published and not self._place.is_first else []

    def _forward(self, m: int, record: Record, send: bool, wants_gradient: bool) -> list[Outgoing]:
        record.passed, record.version = self.stage.forward(_input(record)), self.stage.version
        if self._place.is_last:
            self._lose(m, record, record.passed)
            return []
        body = {"training": True, "ends_minibatch": record.ends_minibatch, "wants_gradient": wants_gradient}
        tensors = (*record.passed.outputs, *record.targets)
        record.output = Message(Kind.ACTIVATION, microbatch=m, body=body, tensors=tensors)
        return [_output(record)] if send else []

    def _lose(self, m: int, record: Record, passed: Pass) -> None:
        """The loss, and its gradients."""
        result = _finite(self.stage.loss(passed, record.targets), m)
        record.gradients = result.gradients
        self.counters.loss.add(result.value)
        if result.correct is not None:
            self.counters.accuracy.add(result.correct / result.answers)

    def _evaluate(self, m: int, record: Record) -> list[Outgoing]:
        passed, targets = self.stage.forward(_input(record), training=False), record.targets
        if not self._place.is_last:
            tensors = (*passed.outputs, *targets)
            return [(DOWNSTREAM, Message(Kind.ACTIVATION, microbatch=m, body={"training": False}, tensors=tensors))]
        result = _finite(self.stage.loss(passed, targets), m)
        output, target = passed.outputs[0], targets[0]
        found: dict[str, Any] = {"loss": result.value, "correct": result.correct, "answers": result.answers}
        found["metrics"] = measured(self._metrics, output, target)
        errors = (sums(output, target),) if output.shape == target.shape and target.dtype.kind == "f" else ()  # of values
        return [(COORDINATOR, Message(Kind.EVALUATED, microbatch=m, body=found, tensors=errors))]

    def _go_back(self, action: Backward, record: Record) -> list[Outgoing]:
        m, source, passed = action.microbatch, action.source, record.passed
        assert passed is not None, "the schedule gave this pass up before"
        if source is Source.CORRECTION:
            return self._sent_up(m, self._correct(record, passed, action.send), record.is_true)
        is_guess, is_tentative = source is not Source.TRUE, source is Source.TENTATIVE
        gradients = self.stage.synthesize(passed, record.targets) if is_guess else self._true(record)
        dx = self.stage.backward(passed, gradients, want_dx=action.send, keep=is_tentative)
        self.trained.add(m)
        self._samples += len(record.targets[0])
        if is_tentative:
            record.guess, record.guessed_dx = gradients, dx
            return []
        if not action.keep:
            record.passed = None
        return self._sent_up(m, dx, not is_guess and record.is_true)

    def _correct(self, record: Record, passed: Pass, send: bool) -> Tensors | None:
        """Back from what the guess missed. A backward pass is linear in the gradient, so the two make that of the true one."""
        assert record.guess is not None, "the schedule corrects what was not guessed"
        missing = tuple(true - guess for true, guess in zip(self._true(record), record.guess, strict=True))
        more = self.stage.backward(passed, missing, want_dx=send)
        if more is None or record.guessed_dx is None:
            return None
        return tuple(guessed + one for guessed, one in zip(record.guessed_dx, more, strict=True))

    def _sent_up(self, m: int, dx: Tensors | None, is_true: bool) -> list[Outgoing]:
        """The inputs' gradient, where it is wanted; and whether it came of a true one is counted."""
        self.counters.true_gradients += is_true
        self.counters.truth.add(float(is_true))
        return [] if dx is None else [(UPSTREAM, Message(Kind.GRADIENT, microbatch=m, body={"is_true": is_true}, tensors=dx))]

    def _refine(self, record: Record) -> None:
        assert record.passed is not None, "the schedule gave this pass up before"
        quality = self.stage.refine(record.passed, record.targets, self._true(record))
        record.passed = None
        self.counters.refined += 1
        self.counters.head_cosine.add(quality.cosine)
        self.counters.head_norm_ratio.add(quality.norm_ratio)
        self.counters.head_relative_error.add(quality.relative_error)

    def _true(self, record: Record) -> Tensors:
        """The gradients of the loss, or those that came back; their first use tells how stale they were."""
        assert record.gradients is not None, "the schedule asked for a gradient that has not come"
        if not record.is_used and not self._place.is_last:
            self.counters.staleness.add(self.stage.version - record.version)
        record.is_used = True
        return record.gradients


def _input(record: Record) -> Tensors:
    """The microbatch's input, for its one forward pass."""
    x, record.x = record.x, None
    assert x is not None, "the schedule took a microbatch twice"
    return x


def _output(record: Record) -> Outgoing:
    """The microbatch's output, to be sent once."""
    output, record.output = record.output, None
    assert output is not None, "the schedule sent an output that was not kept"
    return DOWNSTREAM, output


def _finite(result: LossResult, microbatch: int) -> LossResult:
    """The same. Raises Diverged when the loss is no number: whatever is trained from then on is lost."""
    if not math.isfinite(result.value):
        raise Diverged(f"The run diverged: at microbatch {microbatch} its loss was no number any more. Try a lower lr.")
    return result
