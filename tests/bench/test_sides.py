"""What each side of a benchmark gets: its settings, its threads and microbatches at their best, its faults. No trial is real."""

import pytest

from decoupled.bench import floor, peers
from decoupled.bench.benchmark import THREADS, Spread, measure
from decoupled.bench.conditions import Condition
from decoupled.config import Run
from tests.bench.cases import SMALL, outcome, plan
from tests.bench.trials import FOLDER, Trials, silent

SLOW = Condition("latency", 5)


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
    monkeypatch.setattr(peers, "best", lambda name, resolved, warm_up, on_try: settings if name == "torch" else None)
    monkeypatch.setattr(peers, "train", lambda settings, resolved, warm_up, target: outcome(400, settings=str(settings)))

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
