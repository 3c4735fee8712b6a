"""What holds for every schedule, whatever the order in which messages arrive."""

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoupled.schedules.actions import Action, Backward, Evaluate, Evict, Forward, Refine, Source, Update
from decoupled.schedules.dni import Dni
from decoupled.schedules.events import (
    ActivationArrived,
    CreditGranted,
    Event,
    Expired,
    FeedEnded,
    GradientArrived,
    PeerJoined,
    Side,
)
from decoupled.schedules.interface import Place, Schedule
from decoupled.schedules.lockstep import Lockstep

STASH_MAX, WINDOW = 3, 2
MAKERS: dict[str, Callable[[Place], Schedule]] = {
    "lockstep": Lockstep,
    "bootstrapped": lambda place: Dni(place, 2, STASH_MAX, "bootstrapped"),
    "chained": lambda place: Dni(place, 2, STASH_MAX, "chained"),
}


class Pipeline:
    """Stages joined by queues; which queue delivers next, and what is lost or doubled, is the test's choice."""

    def __init__(self, make: Callable[[Place], Schedule], stages: int, microbatches: int) -> None:
        self.stages = [make(Place(i, stages)) for i in range(stages)]
        self.queues: dict[tuple[int, str], deque[Event]] = {(i, way): deque() for i in range(stages) for way in ("down", "up")}
        self.done: list[list[Action]] = [[] for _ in range(stages)]
        self.queues[0, "down"].extend(ActivationArrived(m, training=m % 5 != 4) for m in range(microbatches))
        for i in range(stages):
            self.queues[i, "down"].append(FeedEnded(microbatches - 1))
            if i < stages - 1:
                self.stages[i].receive(PeerJoined(Side.DOWNSTREAM, WINDOW))

    def deliver(self, key: tuple[int, str]) -> None:
        stage, _ = key
        self.stages[stage].receive(self.queues[key].popleft())
        while (action := self.stages[stage].next_action()) is not None:
            self.done[stage].append(action)
            self._tell(stage, action)

    def _tell(self, stage: int, action: Action) -> None:
        down, up = self.queues.get((stage + 1, "down")), self.queues.get((stage - 1, "up"))
        match action:
            case Forward(m) | Evaluate(m):
                if down is not None:
                    down.append(ActivationArrived(m, isinstance(action, Forward)))
                    arrivals = sum(isinstance(event, ActivationArrived) for event in down)
                    assert arrivals <= WINDOW, "more was sent than the inbox holds"
                if up is not None:
                    up.append(CreditGranted(1))
            case Backward(m, send=True):
                assert up is not None
                up.append(GradientArrived(m))

    def run(self, choose: Callable[[list[tuple[int, str]]], tuple[int, str]], lossy: Callable[[Event], list[Event]]) -> None:
        while ready := [key for key, queue in self.queues.items() if queue]:
            key = choose(ready)
            if isinstance(self.queues[key][0], GradientArrived):
                event = self.queues[key].popleft()
                self.queues[key].extendleft(lossy(event))
                if not self.queues[key]:
                    continue
            self.deliver(key)


def check(stage: int, stages: int, actions: list[Action], microbatches: int) -> None:
    """Each microbatch goes forward once, in order, before its backward pass; each update follows a backward pass."""
    training = [m for m in range(microbatches) if m % 5 != 4]
    assert [a.microbatch for a in actions if isinstance(a, Forward)] == training
    assert [a.microbatch for a in actions if isinstance(a, Evaluate)] == [m for m in range(microbatches) if m % 5 == 4]
    assert sorted(a.microbatch for a in actions if isinstance(a, Backward)) == training
    held: set[int] = set()
    for before, action in zip([None, *actions], actions, strict=False):
        match action:
            case Forward(m):
                held.add(m)
                assert len(held) <= STASH_MAX + 1
            case Backward(m, source, send, keep):
                assert m in held
                assert (source is Source.TRUE) or stage < stages - 1
                assert not (send and stage == 0)
                if not keep:
                    held.remove(m)
            case Update():
                assert isinstance(before, Backward)
            case Refine(m) | Evict(m):
                held.remove(m)
    assert not held


@pytest.mark.parametrize("name", MAKERS)
@given(data=st.data(), stages=st.integers(1, 4), microbatches=st.integers(0, 25))
@settings(max_examples=60, deadline=None)
def test_any_order_of_delivery_ends_with_every_microbatch_trained_on_once(
    name: str, data: st.DataObject, stages: int, microbatches: int
) -> None:
    pipeline = Pipeline(MAKERS[name], stages, microbatches)

    pipeline.run(lambda ready: data.draw(st.sampled_from(ready)), lossy=lambda event: [event])

    for stage, schedule in enumerate(pipeline.stages):
        assert schedule.finished, f"stage {stage} is stuck"
        check(stage, stages, pipeline.done[stage], microbatches)


@pytest.mark.parametrize("name", ["bootstrapped", "chained"])
@given(data=st.data(), microbatches=st.integers(1, 25))
@settings(max_examples=60, deadline=None)
def test_lost_and_doubled_gradients_starve_nobody_once_patience_runs_out(
    name: str, data: st.DataObject, microbatches: int
) -> None:
    pipeline = Pipeline(MAKERS[name], 3, microbatches)

    def lossy(event: Event) -> list[Event]:
        assert isinstance(event, GradientArrived)
        fate = data.draw(st.sampled_from(["kept", "lost", "doubled"]))
        fates: dict[str, list[Event]] = {
            "kept": [event],
            "lost": [Expired(event.microbatch)],
            "doubled": [event, Expired(event.microbatch)],
        }
        return fates[fate]

    pipeline.run(lambda ready: data.draw(st.sampled_from(ready)), lossy)

    for stage, schedule in enumerate(pipeline.stages):
        assert schedule.finished, f"stage {stage} is stuck"
        check(stage, 3, pipeline.done[stage], microbatches)
