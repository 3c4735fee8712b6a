"""What each side of a benchmark gets: its settings, its threads and microbatches at their best, its faults. No trial is real."""

import pytest

from decoupled.bench import peers, sides
from decoupled.bench.benchmark import measure
from decoupled.bench.choice import Choice
from decoupled.bench.conditions import Condition
from decoupled.bench.trial import Outcome, Spread
from decoupled.config import Run
from decoupled.errors import RunFailed
from tests.bench.cases import SMALL, outcome, plan
from tests.bench.trials import FOLDER, Trials, silent

SLOW = Condition("latency", 5)


def test_single_has_no_workers_and_the_others_those_of_the_run(trials: Trials) -> None:
    measure(plan(run=Run(**SMALL, workers=2), schedules=("single", "lockstep", "dni")), FOLDER, silent)

    assert {run.schedule: run.workers for _, run in trials.done} == {"single": None, "lockstep": 2, "dni": 2}


def test_single_has_no_straggler_that_comes_and_goes() -> None:
    at_times = {"straggler": 1, "straggler_factor": 2.0, "straggler_for_s": 1.0, "straggler_every_s": 2.0}

    assert (
        sides.under("single", Run(**SMALL | {"emulation": at_times})).emulation
        == Run(**SMALL | {"emulation": {"straggler_factor": 2.0}}).emulation
    )


@pytest.mark.parametrize(("rates", "best"), [({1: 1100.0, 6: 1300.0}, 6), ({1: 1300.0, 6: 1100.0}, 1)])
def test_single_runs_with_the_faster_of_one_thread_and_one_for_every_core(
    rates: dict[int, float], best: int, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "cores", lambda: 6)
    trials.with_threads = rates

    made = measure(plan(schedules=("single", "lockstep")), FOLDER, silent)

    assert [resolved.run.runtime.threads for resolved in trials.tried] == [1, 6, 1, 6], "in turn"
    assert [(run.schedule, run.runtime.threads) for _, run in trials.done] == [("single", best), ("lockstep", 1)]
    assert [(choice.side, choice.best[0]) for choice in made.choices] == [("single", str(best))]
    assert made.notes == (made.choices[0].note,)
    assert len(made.cases[0].outcomes) == 1, "a try is no round"


def test_single_on_an_emulated_device_computes_nothing_so_that_its_threads_do_not_matter(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "cores", lambda: 6)

    measure(plan(run=Run(**SMALL, emulation={"device_ms": 30.0}), schedules=("single",)), FOLDER, silent)

    assert trials.tried == []


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


def test_a_pipeline_runs_with_the_fastest_number_of_microbatches(trials: Trials) -> None:
    trials.rates = {2: 110.0, 4: 130.0, 8: 120.0}

    measure(plan(schedules=("gpipe",)), FOLDER, silent)

    assert [resolved.run.microbatches for resolved in trials.tried] == [2, 4, 8, 2, 4, 8]
    assert [run.microbatches for _, run in trials.done] == [4]


def test_tries_are_made_without_conditions(trials: Trials) -> None:
    measure(plan(schedules=("gpipe",), conditions=(SLOW,)), FOLDER, silent)

    assert {resolved.run.emulation.latency_ms for resolved in trials.tried} == {0}
    assert [run.emulation.latency_ms for _, run in trials.done] == [5]


def test_whoever_watches_hears_of_every_try(trials: Trials) -> None:
    heard = list[str]()

    measure(plan(schedules=("1f1b",)), FOLDER, lambda *step: heard.append(step[0]))

    assert [what for what in heard if "trying" in what][:3] == [f"trying 1f1b with {count} microbatches" for count in (2, 4, 8)]
    assert len([what for what in heard if "trying" in what]) == len(trials.tried)


@pytest.mark.parametrize("schedule", ["async1f1b", "2bw"])
def test_pipelines_without_a_flush_have_as_much_in_flight_as_slow_links_ask_for(schedule: str, trials: Trials) -> None:
    """Under each condition of its own, and with the fewest of those that are as fast."""
    trials.with_extra = {0: 10.0, 8: 100.0, 24: 100.0}
    fast = Condition("latency", 0)

    made = measure(plan(schedules=(schedule,), microbatches=2, conditions=(fast, SLOW)), FOLDER, silent)

    tried = [one.run for one in trials.tried if one.run.emulation.latency_ms]
    assert [run.args.schedule["extra"] for run in tried] == [0, 8, 24] * 2
    assert [case.resolved.run.args.schedule for case in made.cases] == [{}, {"extra": 8}]
    assert [choice.side for choice in made.choices if "flight" in choice.best] == [f"{schedule}, 5 ms"]


def test_kills_make_no_other_choice_of_what_is_in_flight(trials: Trials) -> None:
    run = Run(**SMALL, emulation={"latency_ms": 5.0})
    kills = (Condition("kill", 0), Condition("kill", 30))

    made = measure(plan(run=run, schedules=("async1f1b",), conditions=kills), FOLDER, silent)

    assert len(made.choices) == 1
    assert len({case.resolved.run.args.schedule["extra"] for case in made.cases}) == 1
    assert not any(one.run.emulation.kill_every_s for one in trials.tried)


def test_what_is_in_flight_is_not_chosen_where_the_run_says_it_or_the_schedule_has_no_choice(trials: Trials) -> None:
    run = Run(**SMALL, args={"schedule": {"extra": 3}})
    measure(plan(run=run, schedules=("async1f1b", "dni"), conditions=(SLOW,)), FOLDER, silent)
    assert {run.schedule: run.args.schedule for _, run in trials.done} == {"async1f1b": {"extra": 3}, "dni": {}}
    measure(plan(schedules=("dni", "lockstep"), conditions=(SLOW,)), FOLDER, silent)

    assert trials.tried == []


def test_microbatches_of_one_sample_are_not_tried(trials: Trials) -> None:
    trials.rates = {2: 110.0, 4: 130.0}

    measure(plan(run=Run(**SMALL | {"batch": 9}), schedules=("1f1b",)), FOLDER, silent)

    assert {resolved.run.microbatches for resolved in trials.tried} == {2, 4}


def test_peers_run_at_their_best_and_in_turn(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = peers.Settings("single", 2, True)

    def best(name: str, *_: object) -> tuple[peers.Settings, Choice]:
        if name != "torch":
            raise RunFailed("It is too cold.")
        return settings, Choice(name, {str(settings): [400.0, 401.0]})

    def train(settings: peers.Settings, *_: object) -> Outcome:
        return outcome(400, settings=str(settings))

    monkeypatch.setattr(peers, "best", best)
    monkeypatch.setattr(peers, "train", train)

    made = measure(plan(peers=("torch", "torch gpipe"), repeat=2), FOLDER, silent)

    torch = made.cases[1]
    assert [case.side for case in made.cases] == ["lockstep", "torch"]
    assert [(o.samples_per_s, o.report["settings"]) for o in torch.outcomes] == [(400, "fused optimiser, 2 threads")] * 2
    assert made.ratio(torch, "lockstep") == Spread(4, 4, 4)
    assert [note.split(" ")[0] for note in made.notes] == ["torch", "torch"]
    assert made.notes[1].startswith("torch gpipe takes no part")
    assert made.notes[1].endswith("It is too cold.")


def test_each_side_has_the_faults_that_it_can_bear_and_none_while_its_settings_are_tried(trials: Trials) -> None:
    kill, drop = {"kind": "kill", "stage": 1, "microbatch": 3}, {"kind": "drop", "stage": 0, "share": 0.5}
    run = Run(**SMALL | {"faults": [kill, drop], "supervision": {"on_failure": "continue"}})

    measure(plan(run=run, schedules=("single", "lockstep", "gpipe", "dni")), FOLDER, silent)

    found = {run.schedule: [fault.kind for fault in run.faults] for _, run in trials.done}
    assert found == {"single": [], "lockstep": ["kill"], "gpipe": ["kill"], "dni": ["kill", "drop"]}
    assert trials.tried
    assert not any(resolved.run.faults for resolved in trials.tried)
