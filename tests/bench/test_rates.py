"""The learning rate of each side: how it is chosen, and where. No trial is real."""

from typing import Any

import pytest

from decoupled.bench import peers, rates
from decoupled.bench.benchmark import measure
from decoupled.bench.choice import Choice
from decoupled.bench.conditions import Condition
from decoupled.bench.cut import Cut
from decoupled.bench.plan import Plan
from decoupled.bench.trial import Outcome
from decoupled.config import Run
from decoupled.errors import RunFailed
from tests.bench.cases import SMALL, outcome, plan
from tests.bench.trials import FOLDER, Trials, silent

RATES = (0.001, 0.002, 0.004)


def with_rates(**values: Any) -> Plan:
    return plan(**{"target": 0.9, "rates": RATES} | values)


def test_every_side_trains_with_the_rate_that_was_best_on_samples_held_out(trials: Trials) -> None:
    trials.accuracies = {0.001: 0.7, 0.002: 0.8, 0.004: 0.6}

    made = measure(with_rates(schedules=("single", "lockstep", "dni")), FOLDER, silent)

    assert {run.lr for _, run in trials.done} == {0.002}
    assert {one.run.lr: one.dataset.test_samples for one in trials.tried} == dict.fromkeys(RATES, 143)
    assert [(choice.side, choice.best) for choice in made.rates] == [(side, "0.002") for side in ("single", "lockstep", "dni")]
    assert made.rates[0].to_json()["held_out_accuracy"]["0.001"]["tries"] == [0.7, 0.7]


def test_rates_are_tried_in_turn_with_other_seeds_and_without_conditions(trials: Trials) -> None:
    measure(with_rates(run=Run(**SMALL, seed=7), conditions=(Condition("latency", 5),)), FOLDER, silent)

    assert [(one.run.lr, one.run.seed) for one in trials.tried] == [(rate, seed) for seed in (7, 8) for rate in RATES]
    assert {one.run.emulation.latency_ms for one in trials.tried} == {0}
    assert {run.seed for _, run in trials.done} == {7}


def test_without_rates_none_is_tried(trials: Trials) -> None:
    made = measure(plan(target=0.9), FOLDER, silent)

    assert (trials.tried, made.rates) == ([], ())


def test_data_that_come_as_batches_keep_the_runs_rate_and_a_note_says_so(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cut, "can_hold_out", False)

    made = measure(with_rates(run=Run(**SMALL, lr=0.02)), FOLDER, silent)

    assert [run.lr for _, run in trials.done] == [0.02]
    assert any("run's learning rate" in note for note in made.notes)


def test_a_peer_has_its_own_rate(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = peers.Settings("single", 2, True)
    trained = list[float]()

    def train(settings: peers.Settings, resolved: Any, *_: object) -> Outcome:
        trained.append(resolved.run.lr)
        return outcome(400)

    monkeypatch.setattr(peers, "best", lambda name, *_: (settings, Choice(name, {str(settings): [400.0]})))
    monkeypatch.setattr(peers, "held_out_accuracy", lambda settings, resolved: resolved.run.lr)
    monkeypatch.setattr(peers, "train", train)
    trials.accuracies = {0.001: 0.9}

    made = measure(with_rates(peers=("torch",)), FOLDER, silent)

    assert trained == [0.004]
    assert [run.lr for _, run in trials.done] == [0.001]
    assert [(case.side, case.resolved.run.lr) for case in made.cases] == [("lockstep", 0.001), ("torch", 0.004)]


def test_a_rate_with_which_a_side_diverges_is_left_out(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = peers.Settings("single", 1, True)

    def accuracy(settings: peers.Settings, resolved: Any) -> float:
        if resolved.run.lr == 0.004:
            raise RunFailed("The run diverged.")
        return float(resolved.run.lr)

    monkeypatch.setattr(peers, "held_out_accuracy", accuracy)
    _, choice = rates.of_peer("torch", settings, measure(plan(), FOLDER, silent).cases[0].resolved, with_rates(), print)

    assert (choice.best, set(choice.tries)) == ("0.002", {"0.001", "0.002"})


def test_the_note_has_every_sides_tries_and_says_whose_rate_is_the_last_of_those_tried() -> None:
    inside = Choice("lockstep", {"0.001": [0.5], "0.002": [0.7], "0.004": [0.6]}, rates.MEASURE)
    at_the_end = Choice("dni", {"0.001": [0.5], "0.002": [0.6, 0.7], "0.004": [0.9]}, rates.MEASURE)

    said = rates.note([inside, at_the_end])

    assert "lockstep 0.002 (0.001: 50.0%, 0.002: 70.0%, 0.004: 60.0%); dni 0.004 (0.001: 50.0%, 0.002: 65.0%" in said
    assert "The rate of dni is the lowest or highest of those tried" in said
