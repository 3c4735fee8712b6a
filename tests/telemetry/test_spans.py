"""Spans: what each action is called, and rows that travel as one array."""

import numpy as np
import pytest

from decoupled.schedules.actions import Action, Backward, Forward, Source, Update
from decoupled.telemetry.spans import KINDS, Spans, kind_of, training
from tests.telemetry.spans import ACTIONS, spans


@pytest.mark.parametrize(("kind", "action"), ACTIONS.items(), ids=ACTIONS)
def test_an_action_is_called_by_its_kind_and_a_guess_is_told_from_a_true_gradient(kind: str, action: Action) -> None:
    assert kind_of(action) == kind


def test_every_kind_is_that_of_an_action() -> None:
    assert set(KINDS) == set(ACTIONS) | {"absent"}, "in which no action is possible"


def test_a_span_has_its_kind_its_microbatch_its_start_and_its_end() -> None:
    made = Spans()
    made.add(Forward(7), 100, 150)
    made.add(Backward(7, Source.SYNTHETIC, send=False), 150, 180)
    made.add(Update(), 180, 181)

    rows = made.take()

    assert rows.dtype == np.int64
    assert [KINDS[row[0]] for row in rows] == ["forward", "synthetic", "update"]
    assert rows[:, 1:].tolist() == [[7, 100, 150], [7, 150, 180], [-1, 180, 181]]


def test_spans_that_are_many_are_taken_before_they_fill_a_message() -> None:
    made = Spans()
    while not made.are_many:
        made.add(Forward(0), 0, 1)

    assert made.take().nbytes <= 1 << 15
    assert not made.are_many


def test_what_was_taken_is_not_given_again() -> None:
    made = Spans()
    made.add(Forward(0), 0, 1)
    made.take()
    made.add(Forward(1), 1, 2)

    assert made.take()[:, 1].tolist() == [1]
    assert made.take().shape == (0, 4)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [(kind, kind not in ("evaluate", "evict", "drop", "snapshot", "endfeed", "skip", "fence", "answer")) for kind in ACTIONS],
)
def test_only_what_a_stage_does_to_train_counts_as_training(kind: str, counts: bool) -> None:
    assert len(training(spans((0, 5), kind=kind))) == counts
