"""Trials: what one comes to, and the process that each is."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from decoupled import api, folders
from decoupled.bench import trial
from decoupled.bench.trial import child, memory_growth_mb, seconds_to, stretches, timed, update_sizes
from decoupled.config import Run, from_toml
from decoupled.errors import RunFailed
from decoupled.runtime.resolve import resolve
from tests.bench.cases import drawn, updates
from tests.conftest import until
from tests.datasets import blobs
from tests.e2e.commands import gone


def evaluations(*accuracies: float | None) -> list[dict[str, Any]]:
    """One after each epoch."""
    return [{"epoch": epoch, "accuracy": accuracy} for epoch, accuracy in enumerate(accuracies, start=1)]


@pytest.mark.parametrize(
    ("accuracies", "seconds"),
    [
        ((0.5, 0.7, 0.9, 0.95), 6.0),  # three epochs of 200 samples at 100 samples/s
        ((0.5, 0.91, 0.6, 0.95), 4.0),
        ((0.9,), 2.0),
        ((None, 0.95), 4.0),
        ((0.5, 0.89), None),
        ((None, None), None),
        ((), None),
    ],
)
def test_the_time_to_a_target_is_that_to_the_first_evaluation_that_reached_it(
    accuracies: tuple[float | None, ...], seconds: float | None
) -> None:
    assert seconds_to(0.9, timed(evaluations(*accuracies), samples_per_epoch=200, rate=100.0)) == seconds


def test_by_the_runs_clock_the_time_is_that_of_the_evaluation() -> None:
    seen = [{"epoch": 1, "accuracy": 0.95, "seconds": 7.5}]

    assert seconds_to(0.9, timed(seen, samples_per_epoch=200, rate=None)) == 7.5


def test_without_a_target_there_is_no_time_to_it() -> None:
    assert seconds_to(None, timed(evaluations(1.0), samples_per_epoch=200, rate=100.0)) is None


def test_an_epochs_last_update_has_what_is_left() -> None:
    assert update_sizes(drawn(blobs(train=50), batch=20, epochs=2)) == [20, 20, 10, 20, 20, 10]


def test_a_sample_that_is_left_alone_joins_the_update_before_it() -> None:
    assert update_sizes(drawn(blobs(train=41), batch=20, epochs=1)) == [20, 21]


@pytest.mark.parametrize(("every", "lengths"), [(0, [50]), (1, [10, 10, 10, 10, 10]), (2, [20, 20, 10]), (5, [50]), (9, [50])])
def test_a_stretch_goes_from_one_evaluation_to_the_next(every: int, lengths: list[int]) -> None:
    resolved = drawn(epochs=5, runtime={"evaluate_every": every})

    assert stretches(resolved) == lengths
    assert sum(lengths) == len(update_sizes(resolved))


def growth(folder: Path, *told: tuple[int, tuple[float, ...]]) -> float:
    """The growth that records of so many samples with every worker's peak come to."""
    lines = [{"samples": samples, "workers": [{"peak_rss_mb": mb} for mb in each]} for samples, each in told]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return memory_growth_mb(folder)


def test_memory_growth_is_what_all_workers_gained_after_the_first_quarter(tmp_path: Path) -> None:
    found = growth(tmp_path, (10, (100, 50)), (100, (300, 60)), (110, (310, 60)), (400, (320, 75.5)))

    assert found == (320 + 75.5) - (300 + 60)


def test_memory_growth_ignores_records_in_which_not_all_workers_have_reported(tmp_path: Path) -> None:
    assert growth(tmp_path, (100, (300, 0)), (110, (310, 60)), (300, (320, 70)), (400, (0, 75))) == (320 + 70) - (310 + 60)


@pytest.mark.parametrize("told", [(), ((100, (0, 50)), (400, (0, 60)))], ids=["no record", "one worker never reported"])
def test_memory_that_nobody_told_of_has_not_grown(told: tuple[tuple[int, tuple[float, ...]], ...], tmp_path: Path) -> None:
    assert growth(tmp_path, *told) == 0


def test_a_trial_is_the_plans_run_and_comes_to_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(hidden=(8,), epochs=4, schedule="single", runtime={"evaluate_every": 1})
    resolved = resolve(run, api.load_data(run))
    trained = list[Run]()

    def in_this_process(command: list[str]) -> str:
        assert command[:4] == [sys.executable, "-m", "decoupled", "train"]
        options = dict(zip(command[4::2], command[5::2], strict=True))
        trained.append(Run(**from_toml(Path(options["--config"]))))
        api.train(trained[0], options["--out"])
        return ""

    monkeypatch.setattr(trial, "child", in_this_process)
    came_to = trial.train(resolved, tmp_path / "runs" / "mine", warm_up=2, target=0.0)

    assert trained == [resolved.run]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"], "the configuration is gone"
    assert came_to.report["folder"] == str(tmp_path / "runs" / "mine")
    assert [evaluation["epoch"] for evaluation in came_to.report["evaluations"]] == [1, 2, 3, 4]
    assert came_to.target_s == pytest.approx(1437 / came_to.samples_per_s, abs=1e-3), "any accuracy will do: one epoch"
    assert came_to.to_json()["steady_samples_per_s"] == round(came_to.samples_per_s, 1)


@pytest.mark.parametrize(
    ("warm_up", "rate"),
    [(2, 10 / 20e-9), (3, 5.0)],  # the second stage is never warm after 3 updates, so that the run's own rate has to do
)
def test_where_stages_made_different_numbers_of_updates_the_slowest_ones_own_rate_counts(
    warm_up: int, rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [{"samples": 40}, {"samples": 30}]
    monkeypatch.setattr(trial, "child", lambda command: "")
    monkeypatch.setattr(trial, "memory_growth_mb", lambda folder: 0.0)
    monkeypatch.setattr(
        folders, "load_report", lambda folder: {"samples_per_s": 5.0, "evaluations": [], "workers_detail": workers}
    )
    monkeypatch.setattr(folders, "load_spans", lambda folder: [updates(100, 110, 120, 130), updates(100, 120, 140)])

    assert trial.train(drawn(), tmp_path / "mine", warm_up, target=None).samples_per_s == pytest.approx(rate)


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_child_gives_what_it_printed() -> None:
    assert child(script("print('one'); print('two')")) == "one\ntwo\n"


def test_a_child_reads_what_it_is_given() -> None:
    assert child(script("print(input()[::-1])"), "abc\n") == "cba\n"


def test_a_child_that_is_given_nothing_meets_the_end_of_its_input() -> None:
    assert child(script("import sys; print(repr(sys.stdin.read()))")) == "''\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('heard'); sys.exit('a line\\nerror: It is too cold.\\n')", "It is too cold."),
        ("print('It is too warm.'); raise SystemExit(3)", "It is too warm."),
        ("raise SystemExit(3)", "The process ended with exit code 3."),
    ],
)
def test_a_child_that_fails_gives_its_last_words(code: str, words: str) -> None:
    with pytest.raises(RunFailed) as failed:
        child(script(code))

    assert str(failed.value) == words


@pytest.mark.parametrize("habit", ["pass", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_an_interruption_leaves_no_process(habit: str, tmp_path: Path) -> None:
    """Not even of a child that does not listen."""
    there = tmp_path / "there"
    sleeper = f"import pathlib, time; {habit}; pathlib.Path({str(there)!r}).touch(); time.sleep(600)"
    code = f"import sys; from decoupled.bench import trial; trial.END_S = 0.5; trial.child([sys.executable, '-c', {sleeper!r}])"
    parent = subprocess.Popen(script(code), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until("the child to be there", there.exists, seconds=60)
    children = psutil.Process(parent.pid).children()

    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=30)

    assert "KeyboardInterrupt" in said
    assert len(children) == 1
    assert gone(children)
