"""The benchmark: the order of its trials, what each side gets, and the ratios that come of them. No trial is real."""

from pathlib import Path
from typing import Any

import pytest

from decoupled.bench import floor, peers, trial
from decoupled.bench.benchmark import THREADS, Spread, measure, rate
from decoupled.bench.conditions import AS_IS, Condition
from decoupled.bench.trial import Outcome
from decoupled.config import Run
from decoupled.errors import UsageError
from decoupled.runtime.blueprint import Blueprint
from tests.bench.cases import SMALL, benchmark, case, outcome, plan

FOLDER = Path("runs")
DEVICE: dict[str, Any] = {"device_ms": 30.0}
FAST, SLOW = Condition("latency", 0), Condition("latency", 5)


class Trials:
    """Stands in for the trials: notes each, and has a rate for each number of microbatches, or of threads."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}
        self.with_threads: dict[int, float] = {}
        self.done: list[tuple[str, Run]] = []  # the folder's name and the run

    def __call__(self, blueprint: Blueprint, folder: Path, warm_up: int, target: float | None) -> Outcome:
        self.done.append((folder.name, blueprint.run))
        usual = self.with_threads.get(blueprint.run.runtime.threads, 100.0)
        return outcome(self.rates.get(blueprint.run.microbatches or 1, usual))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]

    def run(self, name: str) -> Run:
        return dict(self.done)[name]


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    made = Trials()
    monkeypatch.setattr(trial, "train", made)
    monkeypatch.setattr("decoupled.bench.benchmark.THREADS", (6,))  # without a choice, there are no probes
    monkeypatch.setattr(floor, "samples_per_s", lambda blueprint, at: 1000.0 + at)
    return made


def silent(what: str, done: int, total: int) -> None:
    """For a benchmark that nobody watches."""


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


def test_the_machine_is_described_as_it_was_before_the_first_trial(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (float(len(trials.done)), 9.0, 9.0))

    made = measure(plan(schedules=("gpipe", "dni")), FOLDER, silent)

    assert made.machine["load_before"] == 0.0
    assert {"processor", "cores", "system", "decoupled", "python", "numpy", "blas"} <= made.machine.keys()


# What each side gets.


def test_single_has_its_own_threads_and_no_workers_and_the_others_what_the_run_says(trials: Trials) -> None:
    measure(plan(run=Run(**SMALL, workers=2), schedules=("single", "lockstep", "dni")), FOLDER, silent)

    assert {run.schedule: (run.runtime.threads, run.workers) for _, run in trials.done} == {
        "single": (6, None),
        "lockstep": (1, 2),
        "dni": (1, 2),
    }


@pytest.mark.parametrize(
    ("rates", "best"), [({1: 1100.0, 6: 1300.0}, "6 BLAS threads"), ({1: 1300.0, 6: 1100.0}, "1 BLAS thread")]
)
def test_probes_choose_the_fastest_number_of_threads_for_single(
    rates: dict[int, float], best: str, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoupled.bench.benchmark.THREADS", (1, 6))
    trials.with_threads = rates

    made = measure(plan(schedules=("single",)), FOLDER, silent)

    assert trials.names == ["probe-single-0", "probe-single-1", "single-as-is-1"]
    assert [run.runtime.threads for _, run in trials.done] == [1, 6, int(best[0])]
    assert made.notes == (
        f"single runs with {best}, the fastest when tried "
        f"(samples/s: 1 BLAS thread {rates[1]:,.0f}, 6 BLAS threads {rates[6]:,.0f}).",
    )
    assert len(made.cases[0].outcomes) == 1, "a probe is no round"


def test_single_is_tried_with_one_thread_and_with_one_for_every_core() -> None:
    assert set(THREADS) == {1, floor.cores()}
    assert len(THREADS) == len(set(THREADS))


def test_only_dni_loses_gradients(trials: Trials) -> None:
    run = Run(**SMALL, emulation={"drop": 0.1})

    measure(plan(run=run, schedules=("single", "lockstep", "gpipe", "dni"), microbatches=2), FOLDER, silent)

    assert {run.schedule: run.emulation.drop for _, run in trials.done} == {
        "single": 0.0,
        "lockstep": 0.0,
        "gpipe": 0.0,
        "dni": 0.1,
    }


def test_only_dni_gets_an_overflow(trials: Trials) -> None:
    run = Run(**SMALL, dni={"overflow": "latest", "stash_max": 5})

    measure(plan(run=run, schedules=("single", "lockstep", "gpipe", "1f1b", "dni"), microbatches=2), FOLDER, silent)

    assert {run.schedule: run.dni.overflow for _, run in trials.done} == {
        "single": "block",
        "lockstep": "block",
        "gpipe": "block",
        "1f1b": "block",
        "dni": "latest",
    }
    assert {run.dni.stash_max for _, run in trials.done} == {5}


def test_all_sides_train_the_same(trials: Trials) -> None:
    run = Run(**SMALL, seed=7, lr=0.02)

    measure(plan(run=run, schedules=("single", "lockstep", "gpipe", "1f1b", "dni"), microbatches=2), FOLDER, silent)

    assert {(run.seed, run.lr, run.batch, run.epochs, run.hidden) for _, run in trials.done} == {(7, 0.02, 20, 3, (16, 12))}


def test_each_round_has_a_seed_of_its_own_which_all_sides_share(trials: Trials) -> None:
    measure(plan(run=Run(**SMALL, seed=7), schedules=("single", "lockstep", "dni"), repeat=2), FOLDER, silent)

    assert {(name[-1], run.seed) for name, run in trials.done} == {("1", 7), ("2", 8)}


def test_microbatches_that_are_given_are_not_looked_for(trials: Trials) -> None:
    made = measure(plan(schedules=("gpipe", "1f1b", "lockstep"), microbatches=5), FOLDER, silent)

    assert trials.names == ["gpipe-as-is-1", "1f1b-as-is-1", "lockstep-as-is-1"]
    assert [run.microbatches for _, run in trials.done] == [5, 5, 1]
    assert made.notes == ()


def test_probes_choose_the_fastest_number_of_microbatches(trials: Trials) -> None:
    trials.rates = {2: 110.0, 4: 130.0, 8: 120.0}

    made = measure(plan(schedules=("gpipe",)), FOLDER, silent)

    assert trials.names == ["probe-gpipe-0", "probe-gpipe-1", "probe-gpipe-2", "gpipe-as-is-1"]
    assert [(run.microbatches, run.epochs) for _, run in trials.done] == [(2, 1), (4, 1), (8, 1), (4, 3)]
    assert made.notes == (
        "gpipe runs with 4 microbatches, the fastest when tried "
        "(samples/s: 2 microbatches 110, 4 microbatches 130, 8 microbatches 120).",
    )
    assert len(made.cases[0].outcomes) == 1, "a probe is no round"


@pytest.mark.parametrize(("warm_up", "epochs"), [(24, 1), (25, 2), (100, 3)])
def test_a_probe_has_the_epochs_for_three_times_its_warm_up_or_all_of_the_run(warm_up: int, epochs: int, trials: Trials) -> None:
    """An epoch of the digits is 72 updates, and the run has three."""
    measure(plan(schedules=("gpipe",), warm_up=warm_up), FOLDER, silent)

    assert [run.epochs for name, run in trials.done if name.startswith("probe")] == [epochs] * 3


def test_probes_are_made_without_conditions(trials: Trials) -> None:
    measure(plan(schedules=("gpipe",), conditions=(SLOW,)), FOLDER, silent)

    assert [run.emulation.latency_ms for _, run in trials.done] == [0, 0, 0, 5]


def test_whoever_watches_hears_of_every_probe(trials: Trials) -> None:
    heard = list[tuple[str, int, int]]()

    measure(plan(schedules=("1f1b",)), FOLDER, lambda *step: heard.append(step))

    assert heard[:3] == [(f"trying 1f1b with {count} microbatches", 0, 1) for count in (2, 4, 8)]
    assert len(heard) == 3 + 2


def test_microbatches_of_one_sample_are_not_probed(trials: Trials) -> None:
    measure(plan(run=Run(**SMALL | {"batch": 9}), schedules=("1f1b",)), FOLDER, silent)

    assert trials.names == ["probe-1f1b-0", "probe-1f1b-1", "1f1b-as-is-1"]
    assert [run.microbatches for _, run in trials.done[:2]] == [2, 4]


def test_peers_run_at_their_best_and_in_turn(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = peers.Settings("single", 2, True)
    monkeypatch.setattr(peers, "best", lambda name, blueprint, warm_up, on_try: settings if name == "torch" else None)
    monkeypatch.setattr(peers, "train", lambda settings, blueprint, warm_up, target: outcome(400, settings=str(settings)))

    made = measure(plan(peers=("torch", "torch gpipe"), repeat=2), FOLDER, silent)

    torch = made.cases[1]
    assert [case.side for case in made.cases] == ["lockstep", "torch"]
    assert [(o.samples_per_s, o.report["settings"]) for o in torch.outcomes] == [(400, "fused optimiser, 2 threads")] * 2
    assert made.ratio(torch, "lockstep") == Spread(4, 4, 4)
    assert made.notes == (
        "torch runs with fused optimiser, 2 threads, the fastest of its settings.",
        "torch gpipe could not train this run, so it takes no part.",
    )


def test_each_side_has_the_faults_that_it_can_bear_and_none_while_its_settings_are_tried(trials: Trials) -> None:
    kill, drop = {"kind": "kill", "stage": 1, "microbatch": 3}, {"kind": "drop", "stage": 0, "share": 0.5}
    run = Run(**SMALL | {"faults": [kill, drop], "supervision": {"on_failure": "continue"}})

    measure(plan(run=run, schedules=("single", "lockstep", "gpipe", "dni")), FOLDER, silent)

    found = {name: [fault.kind for fault in tried.faults] for name, tried in trials.done}
    assert found.pop("dni-as-is-1") == ["kill", "drop"]
    assert [found.pop(f"{side}-as-is-1") for side in ("single", "lockstep", "gpipe")] == [[], ["kill"], ["kill"]]
    assert found
    assert not any(found.values())
