"""The benchmark: the order of its trials, and the ratios that come of them. No trial is real."""

from typing import Any

import pytest

from decoupled import api
from decoupled.bench.benchmark import measure, rate
from decoupled.bench.conditions import AS_IS, Condition
from decoupled.bench.prediction import FREE
from decoupled.bench.trial import Spread
from decoupled.config import Run
from decoupled.errors import UsageError
from tests.bench.cases import SMALL, benchmark, case, outcome, plan
from tests.bench.trials import FOLDER, Trials, silent
from tests.datasets import prices

DEVICE: dict[str, Any] = {"device_ms": 30.0}
FAST, SLOW = Condition("latency", 0), Condition("latency", 5)


# Ratios.


def test_ratios_are_made_round_by_round() -> None:
    """The machine was twice as fast in the second round for both, and the ratio knows nothing of that."""
    dni, lockstep = (
        case("dni", outcome(150), outcome(300), outcome(80)),
        case("lockstep", outcome(100), outcome(200), outcome(40)),
    )

    ratio = benchmark(lockstep, dni).ratio(dni, "lockstep")

    assert ratio == Spread(median=1.5, low=1.5, high=2.0)


def test_a_sides_ratio_to_itself_is_one() -> None:
    dni = case("dni", outcome(150), outcome(300))

    assert benchmark(dni).ratio(dni, "dni") == Spread(1, 1, 1)


def test_without_the_reference_there_is_no_ratio() -> None:
    dni = case("dni", outcome(150))

    assert benchmark(dni).ratio(dni, "lockstep") is None


def test_a_ratio_is_to_the_reference_under_the_same_condition() -> None:
    fast, slow = case("lockstep", outcome(100), condition=FAST), case("lockstep", outcome(10), condition=SLOW)
    dni = case("dni", outcome(50), condition=SLOW)

    ratio = benchmark(fast, slow, dni).ratio(dni, "lockstep")

    assert ratio is not None
    assert ratio.median == 5


def test_a_reference_that_knows_no_conditions_serves_for_all_of_them() -> None:
    single, dni = case("single", outcome(100)), case("dni", outcome(50), condition=SLOW)

    ratio = benchmark(single, dni).ratio(dni, "single")

    assert ratio is not None
    assert ratio.median == 0.5


def test_a_reference_measured_under_other_conditions_only_gives_no_ratio() -> None:
    others = [case("lockstep", outcome(100), condition=Condition("drop", share)) for share in (0.0, 0.1)]
    dni = case("dni", outcome(50), condition=Condition("drop", 0.3))

    assert benchmark(*others, dni).ratio(dni, "lockstep") is None


def test_the_rate_is_the_median_of_the_rounds_with_its_limits() -> None:
    assert rate(case("dni", outcome(300), outcome(100), outcome(120))) == Spread(median=120, low=100, high=300)


# The rounds.


def test_the_order_turns_round_from_one_round_to_the_next(trials: Trials) -> None:
    made = measure(plan(schedules=("single", "lockstep", "dni"), repeat=3), FOLDER, silent)

    assert trials.names == [
        *("single-as-is-1", "lockstep-as-is-1", "dni-as-is-1"),
        *("dni-as-is-2", "lockstep-as-is-2", "single-as-is-2"),
        *("single-as-is-3", "lockstep-as-is-3", "dni-as-is-3"),
    ]
    assert [case.side for case in made.cases] == ["single", "lockstep", "dni"]
    assert [len(case.outcomes) for case in made.cases] == [3, 3, 3]


def test_the_floor_is_measured_anew_in_each_round(trials: Trials) -> None:
    made = measure(plan(schedules=("lockstep", "dni"), repeat=2), FOLDER, silent)

    assert [case.floors for case in made.cases] == [[1000.0, 1001.0]] * 2


def test_emulated_devices_have_no_floor(trials: Trials) -> None:
    made = measure(plan(run=Run(**SMALL, emulation=DEVICE)), FOLDER, silent)

    assert [case.floors for case in made.cases] == [[]]


def test_on_emulated_devices_messages_are_tried_with_two_sizes_for_each_number_of_workers(trials: Trials) -> None:
    """By lockstep, whichever sides and conditions take part; one process sends none."""
    run = Run(**SMALL, emulation=DEVICE | {"latency_ms": 5.0})
    workers = tuple(Condition("workers", count) for count in (2, 4))

    made = measure(plan(run=run, schedules=("single", "lockstep", "dni"), conditions=workers), FOLDER, silent)

    tried = [(len(one.stages), one.run.schedule, one.run.batch, one.run.emulation.latency_ms) for one in trials.tried]
    assert tried == [(2, "lockstep", 20, 0), (2, "lockstep", 5, 0), (4, "lockstep", 20, 0), (4, "lockstep", 5, 0)]
    assert {case.messages for case in made.cases if case.side == "single"} == {FREE}
    assert all(case.messages.byte_ns > 0 for case in made.cases if case.side == "dni")


def test_whoever_watches_hears_of_every_trial_and_of_the_end(trials: Trials) -> None:
    heard = list[tuple[str, int, int]]()

    measure(plan(schedules=("lockstep", "dni"), repeat=2), FOLDER, lambda *step: heard.append(step))

    assert [(done, total) for _, done, total in heard] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert heard[1][0] == "round 1 of 2: dni as-is"


def test_every_side_meets_every_condition_that_means_something_to_it(trials: Trials) -> None:
    measure(plan(schedules=("lockstep", "single", "dni"), conditions=(FAST, SLOW)), FOLDER, silent)

    assert trials.names == [
        "single-as-is-1",
        *("lockstep-latency-0-1", "dni-latency-0-1"),
        *("lockstep-latency-5-1", "dni-latency-5-1"),
    ]
    assert [run.emulation.latency_ms for _, run in trials.done] == [0, 0, 0, 5, 5]


@pytest.mark.parametrize(
    ("name", "conditions"),
    [("single", (SLOW,)), ("single", (FAST, SLOW)), ("gpipe", (Condition("drop", 0.1), Condition("drop", 0.2)))],
)
def test_a_side_that_no_condition_admits_runs_once_as_it_is(name: str, conditions: tuple[Condition, ...], trials: Trials) -> None:
    made = measure(plan(schedules=("dni", name), microbatches=2, conditions=conditions), FOLDER, silent)

    assert [(case.side, case.condition) for case in made.cases] == [
        (name, AS_IS),
        *(("dni", condition) for condition in conditions),
    ]
    alone = trials.run(f"{name}-as-is-1").emulation
    assert (alone.latency_ms, alone.drop) == (0, 0)


def test_a_run_that_is_over_before_it_is_warm_is_refused(trials: Trials) -> None:
    with pytest.raises(UsageError, match="no more updates than the 300 that warm it up"):
        measure(plan(warm_up=300), FOLDER, silent)

    assert trials.done == []


@pytest.mark.parametrize("condition", [Condition("straggler", 2, stage=3), Condition("workers", 4)])
def test_a_condition_that_does_not_fit_is_refused_before_anything_is_tried(condition: Condition, trials: Trials) -> None:
    with pytest.raises(UsageError):
        measure(plan(schedules=("gpipe", "dni"), conditions=(FAST, condition)), FOLDER, silent)

    assert trials.done == []


def test_a_target_for_values_is_refused_before_anything_is_tried(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "load_data", lambda run: prices())

    with pytest.raises(UsageError, match="Values are not right or wrong"):
        measure(plan(target=0.9), FOLDER, silent)

    assert trials.done == []


def test_the_machine_is_described_as_it_was_before_the_first_trial(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (float(len(trials.done)), 9.0, 9.0))

    made = measure(plan(schedules=("gpipe", "dni")), FOLDER, silent)

    assert made.machine["load_before"] == 0.0
    assert {"processor", "cores", "system", "decoupled", "python", "numpy", "blas"} <= made.machine.keys()
