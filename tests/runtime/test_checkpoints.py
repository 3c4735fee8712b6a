"""The checkpoints: markers at the right moments, and checkpoints that are those of one cut through the whole run."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from decoupled.checkpoint import Checkpoint
from decoupled.config import CheckpointOptions
from decoupled.errors import UsageError
from decoupled.runtime.checkpoints import CheckpointCoordinator, RunState, state_messages
from decoupled.runtime.chunks import Chunks, into_chunks
from decoupled.runtime.data_stream import Cursor, DataStream
from decoupled.runtime.feed import Feed
from decoupled.telemetry.evaluations import Evaluation
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.ranges import Ranges
from decoupled.wire.messages import Kind, Message
from tests.cluster import MemoryStore
from tests.datasets import blobs

EPOCH = 12  # microbatches: five batches of two each, and two of the test set
STAGES = 2
STATE = RunState(
    Cursor(position=12, number=14, updates=5, trained=Ranges([(0, 9)]), usual=5, odd={9: 3}),
    (Evaluation(1, 0.5, 0.75, 2.0), Evaluation(2, 0.25, None, 4.0)),
    12.5,
    (0, 2),
    (Incident(1.5, 1, "lost", "its process 7 ended (killed by SIGKILL)"), Incident(2.0, None, "rolled back", "")),
)


class Busy(MemoryStore):
    """A store whose last checkpoint is still being written."""

    is_busy = True


def stream(taken: int) -> DataStream:
    """One that has given so many items."""
    made = DataStream(Feed(blobs(train=50, test=20), 10, 2, 0, 1, 2))
    for _ in range(taken):
        made.take()
    return made


def checkpoints(store: MemoryStore | None = None, **options: Any) -> CheckpointCoordinator:
    made = CheckpointCoordinator(STAGES, store or MemoryStore(), CheckpointOptions(**{"every": 4} | options))
    made.begin(0.0, -1)
    return made


def part(stage: int, microbatch: int, value: float = 0.0) -> list[Message]:
    """The pieces of a stage's snapshot: two arrays."""
    arrays = {"weight": np.full(3, value), "trained": np.array([[0, stage]])}
    return into_chunks(Kind.SNAPSHOT, arrays, {"stage": stage}, microbatch)


def take(kept: CheckpointCoordinator, stage: int, pieces: list[Message], state: RunState = STATE, owes: bool = False) -> bool:
    """Whether the checkpoints said of the last piece that it was the last stage's last."""
    said = [kept.take(stage, piece, state, owes) for piece in pieces]
    assert not any(said[:-1])
    return said[-1]


def test_a_marker_is_due_when_its_time_has_come_and_no_minibatch_is_cut() -> None:
    kept, source, due = checkpoints(every=3), stream(0), []

    for _ in range(EPOCH):
        due.append(kept.wants_marker(source, 0.0))
        source.take()

    assert [number for number, is_due in enumerate(due) if is_due] == [4, 6, 8, 10], "from the third on, after each second"


def test_a_marker_waits_for_the_one_before_and_for_the_disk() -> None:
    kept, source = checkpoints(), stream(4)
    kept.mark(source, 0.0)
    for _ in range(4):
        source.take()

    during = kept.wants_marker(source, 0.0)
    for stage in range(STAGES):
        take(kept, stage, part(stage, 3))

    assert not during
    assert kept.wants_marker(source, 0.0)
    assert not checkpoints(Busy()).wants_marker(source, 0.0)


def test_a_checkpoint_is_kept_when_every_stage_has_given_its_part_in_whatever_order() -> None:
    store = MemoryStore()
    kept, source = checkpoints(store), stream(8)

    after = kept.mark(source, 0.0)
    first = take(kept, 1, part(1, 7, value=0.5))
    before = list(store.saved)
    second = take(kept, 0, part(0, 7, value=0.25))

    assert after == 7
    assert (first, second) == (True, False), "it says when the last stage has"
    assert before == []
    (saved,) = store.saved
    assert saved.microbatch == 7
    assert [arrays["weight"].tolist() for arrays in saved.arrays] == [[0.25] * 3, [0.5] * 3]
    assert saved.about_stages == [{"stage": 0}, {"stage": 1}]


def test_it_stands_as_the_run_did_at_the_cut_whatever_was_fed_since() -> None:
    """What was fed is that of the marker; evaluations those that were done when it came out at the end."""
    store = MemoryStore()
    kept, source = checkpoints(store), stream(8)
    later = RunState(STATE.fed, (*STATE.evaluations, Evaluation(3, 0.1, 1.0, 9.0)), 20.0, (1, 2), ())

    kept.mark(source, 0.0)
    expected = source.fed.copy()
    source.take()
    take(kept, 1, part(1, 7))
    take(kept, 0, part(0, 7), later)

    found = RunState.of(store.saved[0])
    assert found.fed == expected
    assert found.evaluations == STATE.evaluations
    assert (found.seconds, found.generations, found.incidents) == (20.0, (1, 2), ())


def test_when_there_is_nothing_more_to_feed_a_marker_is_sent_but_nothing_kept() -> None:
    """It only tells which evaluations were lost."""
    store = MemoryStore()
    kept, source = checkpoints(store, every=10_000), stream(2 * EPOCH)
    kept.want()

    is_due = kept.wants_marker(source, 0.0)
    kept.mark(source, 0.0)
    said = [take(kept, stage, part(stage, 2 * EPOCH - 1)) for stage in range(STAGES)]

    assert is_due
    assert said == [False, True]
    assert store.saved == []


def test_parts_of_a_snapshot_that_was_given_up_change_nothing() -> None:
    store = MemoryStore()
    kept, source = checkpoints(store), stream(4)
    kept.mark(source, 0.0)
    take(kept, 0, part(0, 3))

    kept.give_up()
    said = take(kept, 1, part(1, 3))

    assert not said
    assert store.saved == []


@pytest.mark.parametrize("came", [0, 1])
def test_a_second_snapshot_after_the_same_microbatch_takes_no_half_of_the_first(came: int) -> None:
    """A link broke when nothing could be fed: the next marker follows the same microbatch, and the rest of the first comes."""
    store = MemoryStore()
    kept, source = checkpoints(store), stream(4)
    first = part(0, 3, value=1.0)
    kept.mark(source, 0.0)
    for piece in first[:came]:
        kept.take(0, piece, STATE, owes=False)

    kept.give_up()
    kept.want()
    kept.mark(source, 0.0)
    take(kept, 1, part(1, 3))
    for piece in [*first[came:], *part(0, 3, value=2.0)]:
        kept.take(0, piece, STATE, owes=False)

    (saved,) = store.saved
    assert [arrays.keys() for arrays in saved.arrays] == [{"weight", "trained"}] * 2


def test_a_run_that_goes_on_counts_from_there_and_waits_for_nothing_of_before() -> None:
    store = MemoryStore()
    kept, source = checkpoints(store, every=4), stream(6)
    kept.mark(source, 0.0)

    kept.begin(50.0, 5)
    for stage in range(STAGES):
        take(kept, stage, part(stage, 5))
    due = []
    for _ in range(4):
        due.append(kept.wants_marker(source, 50.0))
        source.take()
    due.append(kept.wants_marker(source, 50.0))

    assert store.saved == []
    assert due == [False, False, False, False, True]


def test_a_stage_gets_its_own_part_of_a_checkpoint_or_nothing() -> None:
    store = MemoryStore()
    kept = checkpoints(store)
    kept.mark(stream(4), 0.0)
    for stage in range(STAGES):
        take(kept, stage, part(stage, 3, value=float(stage)))

    found = Chunks()
    for message in state_messages(kept.load_stage(1, up_to=1000).result()):
        assert message.kind is Kind.STATE
        found.add(message)

    assert found.is_whole
    assert found.arrays["weight"].tolist() == [1.0] * 3
    assert found.about == {"stage": 1}
    assert state_messages(checkpoints().load_stage(1, up_to=1000).result()) == []


def test_how_a_run_stood_comes_back_from_json() -> None:
    about = json.loads(json.dumps(STATE.to_json()))

    assert RunState.of(Checkpoint(13, [], [], about)) == STATE


@pytest.mark.parametrize(
    "change",
    [
        lambda about: {},
        lambda about: about | {"fed": None},
        lambda about: about | {"fed": about["fed"] | {"more": 1}},
        lambda about: about | {"evaluations": [{"epoch": 1}]},
        lambda about: about | {"seconds": "many"},
        lambda about: about | {"generations": 3},
        lambda about: about | {"generations": [None]},
        lambda about: about | {"incidents": [3]},
    ],
)
def test_a_checkpoint_that_does_not_say_how_its_run_stood_is_refused(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with pytest.raises(UsageError) as refused:
        RunState.of(Checkpoint(13, [], [], change(STATE.to_json())))

    assert str(refused.value).startswith("The checkpoint after microbatch 13 does not say how its run stood: ")
    assert "\n" not in str(refused.value)


def test_a_snapshot_that_owes_an_evaluation_is_not_kept_and_another_is_wanted() -> None:
    store = MemoryStore()
    kept, source = checkpoints(store), stream(4)
    kept.mark(source, 0.0)
    take(kept, 0, part(0, 3))

    assert take(kept, 1, part(1, 3), owes=True), "the last stage's is there all the same"

    assert store.saved == []
    assert kept.wants_marker(source, 0.0)
