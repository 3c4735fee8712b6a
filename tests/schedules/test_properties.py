"""What holds for every schedule, whatever the order in which messages arrive."""

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Source,
    Update,
)
from decoupled.schedules.catalogue import Settings, make
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    FeedEnded,
    FenceArrived,
    GradientArrived,
    GradientsEnded,
    PeerFinished,
    PeerJoined,
)
from decoupled.schedules.feedback import Feedback
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.links import Overflow
from tests.schedules.driving import named

STASH_MAX, WINDOW = 3, 2
EVALUATE_EVERY = 5  # the last of so many microbatches is evaluated, so four or fewer make a minibatch


def dni(feedback: Feedback, overflow: Overflow = "block") -> Callable[[Place], Schedule]:
    return lambda place: make("dni", place, Settings(2, STASH_MAX, feedback, overflow))


EXACT = {name: named(name) for name in ("lockstep", "gpipe", "1f1b", "2bw")}
PATIENT = {name: dni(name) for name in get_args(Feedback)}
OVERFLOWING = {
    "adaptive, latest": dni("adaptive", "latest"),
    "adaptive, drop-oldest": dni("adaptive", "drop-oldest"),
    "corrected, drop-oldest": dni("corrected", "drop-oldest"),
    "bootstrapped, latest": dni("bootstrapped", "latest"),
    "chained, latest": dni("chained", "latest"),
    "bootstrapped, drop-oldest": dni("bootstrapped", "drop-oldest"),
    "chained, drop-oldest": dni("chained", "drop-oldest"),
}


def is_training(m: int) -> bool:
    return m % EVALUATE_EVERY != EVALUATE_EVERY - 1


class Pipeline:
    """Stages joined by queues; which queue delivers next, and what is lost or doubled, is the test's choice."""

    def __init__(self, make: Callable[[Place], Schedule], stages: int, microbatches: int, minibatch: int = 1) -> None:
        self._microbatches, self._minibatch = microbatches, minibatch
        self.stages = [make(Place(i, stages)) for i in range(stages)]
        self.queues: dict[tuple[int, str], deque[Event]] = {(i, way): deque() for i in range(stages) for way in ("down", "up")}
        self.done: list[list[Action]] = [[] for _ in range(stages)]
        self._room = [WINDOW] * stages  # in the inbox that each stage sends to
        self._said_finished = [False] * stages
        self.queues[0, "down"].extend(self.arrival(m) for m in range(microbatches))
        self.queues[0, "down"].append(FeedEnded())
        for stage in self.stages[:-1]:
            stage.receive(PeerJoined(WINDOW))

    def arrival(self, m: int, wants_gradient: bool = False) -> ActivationArrived:
        return ActivationArrived(m, is_training(m), self.ends_minibatch(m), wants_gradient)

    def ends_minibatch(self, m: int) -> bool:
        """A minibatch ends when it has its size, before an evaluation, and with the feed."""
        return (m % EVALUATE_EVERY + 1) % self._minibatch == 0 or not is_training(m + 1) or m == self._microbatches - 1

    def deliver(self, key: tuple[int, str]) -> None:
        stage, _ = key
        self.stages[stage].receive(self.queues[key].popleft())
        while (action := self.stages[stage].next_action()) is not None:
            self.done[stage].append(action)
            self._tell(stage, action)
        if stage and self.stages[stage].finished and not self._said_finished[stage]:
            self._said_finished[stage] = True
            self.queues[stage - 1, "up"].append(PeerFinished())

    def _tell(self, stage: int, action: Action) -> None:
        match action:
            case Forward(m, send, wants_gradient):
                self._take(stage)
                if send:
                    self._send(stage, m, wants_gradient)
            case Evaluate(m):
                self._take(stage)
                self._send(stage, m)
            case Send(m, wants_gradient):
                self._send(stage, m, wants_gradient)
            case Fence(m):
                self.queues[stage + 1, "down"].append(FenceArrived(m))
            case Answer(m):
                self.queues[stage - 1, "up"].append(GradientsEnded(m))
            case EndFeed():
                self.queues[stage + 1, "down"].append(FeedEnded())
            case Backward(m, send=True):
                self.queues[stage - 1, "up"].append(GradientArrived(m))

    def _send(self, stage: int, m: int, wants_gradient: bool = False) -> None:
        if stage < len(self.stages) - 1:
            self._room[stage] -= 1
            assert self._room[stage] >= 0, "more was sent than the inbox holds"
            self.queues[stage + 1, "down"].append(self.arrival(m, wants_gradient))

    def _take(self, stage: int) -> None:
        if stage:
            self._room[stage - 1] += 1
            self.queues[stage - 1, "up"].append(CreditGranted(1, len(self.stages[stage].upstream.waiting)))

    def run(self, choose: Callable[[list[tuple[int, str]]], tuple[int, str]], lossy: Callable[[Event], list[Event]]) -> None:
        while ready := [key for key, queue in self.queues.items() if queue]:
            key = choose(ready)
            if isinstance(self.queues[key][0], GradientArrived):
                event = self.queues[key].popleft()
                self.queues[key].extendleft(lossy(event))
                if not self.queues[key]:
                    continue
            self.deliver(key)


def corrects(action: Backward) -> bool:
    return action.source is Source.CORRECTION


def check(stage: int, stages: int, actions: list[Action], arrived: list[int], stash_max: int) -> None:
    """Each that arrived goes forward once, in order, and back once; nothing is left over and no limit broken."""
    assert [a.microbatch for a in actions if isinstance(a, Forward | Evaluate)] == arrived
    assert [a.microbatch for a in actions if isinstance(a, Evaluate)] == [m for m in arrived if not is_training(m)]
    passes = [a.microbatch for a in actions if isinstance(a, Backward) and not corrects(a)]
    assert sorted(passes) == [m for m in arrived if is_training(m)]
    held: set[int] = set()
    for action in actions:
        match action:
            case Forward(m):
                held.add(m)
                assert len(held) <= stash_max
            case Backward(m, source, send, keep):
                assert m in held
                assert (source is Source.TRUE) or stage < stages - 1
                assert not (send and stage == 0)
                if not keep:
                    held.remove(m)
            case Refine(m) | Evict(m):
                held.remove(m)
    assert not held


def check_updates(actions: list[Action], ends_minibatch: Callable[[int], bool]) -> None:
    """An update follows the backward passes of exactly one minibatch, and no forward pass comes in between."""
    waiting: list[int] = []
    for action in actions:
        match action:
            case Backward(m):
                waiting.append(m)
            case Update():
                assert [ends_minibatch(m) for m in waiting] == [False] * (len(waiting) - 1) + [True]
                waiting.clear()
            case Evaluate():
                assert not waiting
            case Forward(m):
                assert not any(map(ends_minibatch, waiting)), f"{m} went forward with old weights"
    assert not waiting


def check_one_update_each(actions: list[Action]) -> None:
    """Every backward pass is followed by an update of its own, but those that only correct one."""
    after = [then for action, then in pairwise([*actions, None]) if isinstance(action, Backward) and not corrects(action)]
    assert after == [Update()] * actions.count(Update())


@pytest.mark.parametrize("name", PATIENT)
@given(data=st.data(), stages=st.integers(1, 4), microbatches=st.integers(0, 25))
def test_any_order_of_delivery_ends_with_every_microbatch_trained_on_once(
    name: str, data: st.DataObject, stages: int, microbatches: int
) -> None:
    pipeline = Pipeline(PATIENT[name], stages, microbatches)

    pipeline.run(lambda ready: data.draw(st.sampled_from(ready)), lossy=lambda event: [event])

    for stage, schedule in enumerate(pipeline.stages):
        assert schedule.finished, f"stage {stage} is stuck"
        check(stage, stages, pipeline.done[stage], list(range(microbatches)), STASH_MAX + 1)
        check_one_update_each(pipeline.done[stage])


@pytest.mark.parametrize("name", EXACT)
@given(data=st.data(), stages=st.integers(1, 4), microbatches=st.integers(0, 25), minibatch=st.integers(1, 4))
def test_any_order_of_delivery_ends_with_one_update_for_each_minibatch(
    name: str, data: st.DataObject, stages: int, microbatches: int, minibatch: int
) -> None:
    pipeline = Pipeline(EXACT[name], stages, microbatches, minibatch)

    pipeline.run(lambda ready: data.draw(st.sampled_from(ready)), lossy=lambda event: [event])

    for stage, schedule in enumerate(pipeline.stages):
        assert schedule.finished, f"stage {stage} is stuck"
        left = stages - stage
        ahead = {"lockstep": 1, "gpipe": minibatch, "1f1b": min(left, minibatch), "2bw": min(left, 2 * minibatch)}
        check(stage, stages, pipeline.done[stage], list(range(microbatches)), ahead[name])
        check_updates(pipeline.done[stage], pipeline.ends_minibatch)


def fate_of(gradient: Event, data: st.DataObject) -> list[Event]:
    """A gradient comes, or is lost without a word, or comes twice."""
    fates: dict[str, list[Event]] = {"kept": [gradient], "lost": [], "doubled": [gradient, gradient]}
    return fates[data.draw(st.sampled_from(list(fates)))]


@pytest.mark.parametrize("name", PATIENT)
@given(data=st.data(), microbatches=st.integers(1, 25))
def test_lost_and_doubled_gradients_starve_nobody(name: str, data: st.DataObject, microbatches: int) -> None:
    pipeline = Pipeline(PATIENT[name], 3, microbatches)

    pipeline.run(lambda ready: data.draw(st.sampled_from(ready)), lambda event: fate_of(event, data))

    for stage, schedule in enumerate(pipeline.stages):
        assert schedule.finished, f"stage {stage} is stuck"
        check(stage, 3, pipeline.done[stage], list(range(microbatches)), STASH_MAX + 1)
        check_one_update_each(pipeline.done[stage])


@pytest.mark.parametrize("name", OVERFLOWING)
@given(data=st.data(), stages=st.integers(1, 4), microbatches=st.integers(0, 25))
def test_whatever_is_dropped_each_stage_trains_on_all_that_arrives_and_ends(
    name: str, data: st.DataObject, stages: int, microbatches: int
) -> None:
    """The feed waits for nobody; gradients get lost and come twice; evaluations all arrive."""
    pipeline = Pipeline(OVERFLOWING[name], stages, microbatches)

    pipeline.run(lambda ready: data.draw(st.sampled_from(ready)), lambda event: fate_of(event, data))

    arrived = list(range(microbatches))
    for stage, schedule in enumerate(pipeline.stages):
        actions = pipeline.done[stage]
        assert schedule.finished, f"stage {stage} is stuck"
        check(stage, stages, actions, arrived, STASH_MAX + 1)
        check_one_update_each(actions)
        dropped = check_unsent(actions, 1 if name.endswith("latest") else WINDOW)
        arrived = [m for m in arrived if m not in dropped]
        if stage == stages - 1:
            assert not dropped
    assert {m for m in range(microbatches) if not is_training(m)} <= set(arrived)


def check_unsent(actions: list[Action], unsent_max: int) -> set[int]:
    """Outputs that were kept are sent or dropped, each once, in order, and never more than so many wait; gives the dropped."""
    kept: deque[int] = deque()
    dropped = set()
    for number, action in enumerate(actions):
        match action:
            case Forward(m, send=False):
                kept.append(m)
            case Forward() | Evaluate():
                assert not kept, "one overtook another"
            case Send(m):
                assert kept.popleft() == m
            case Drop(m):
                assert kept.popleft() == m
                dropped.add(m)
        is_settled = number + 1 == len(actions) or isinstance(actions[number + 1], Forward | Evaluate)
        assert len(kept) <= unsent_max + (not is_settled)
    assert not kept
    return dropped
