"""Following a run by its folder, from before its begin to after its end."""

import json
import os
from pathlib import Path

import pytest

from decoupled.watch.follow import QUIET_S, READ_BYTES, Follower
from tests.watch.moments import begin, evaluation, go_on, lost, values


def read(follower: Follower) -> Follower:
    while follower.refresh():
        pass
    return follower


def test_a_run_is_waited_for_and_then_followed(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "run")
    states = [read(follower).state]
    begin(tmp_path / "run", batch=32)
    states.append(read(follower).state)

    go_on(tmp_path / "run", values(0.25))
    told = read(follower).now()

    assert [*states, told["state"]] == ["waiting", "waiting", "training"]
    assert told["run"] == {"folder": "run", "schedule": "dni", "data": "digits", "head": "auto"} | {
        "hidden": [16],
        "batch": 32,
        "epochs": 20,
        "window": 8,
        "evaluate_every": 0,
    }
    assert (told["number"], told["now"]["seconds"]) == (1, 0.25)


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    folder, line = begin(tmp_path), json.dumps(values(0.25)) + "\n"
    follower = Follower(folder)

    numbers = []
    for part in (line[:100], line[100:], line):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(part)
        numbers.append(read(follower).history.number)

    assert numbers == [0, 1, 2]


def test_a_long_run_is_read_in_parts_and_wholly(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    go_on(folder, *(values(number / 4, cells=200) for number in range(400)))
    assert (folder / "metrics.jsonl").stat().st_size > 3 * READ_BYTES
    follower = Follower(folder)

    assert follower.refresh()
    assert 0 < follower.history.number < 400

    assert read(follower).history.number == 400


def test_a_run_that_says_nothing_for_a_while_is_quiet_and_not_finished(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    go_on(folder, values())
    at = (folder / "metrics.jsonl").stat().st_mtime
    follower = read(Follower(folder, clock=lambda: at + QUIET_S + 1))

    assert follower.state == "quiet"
    assert follower.quiet_s == pytest.approx(QUIET_S + 1)


def test_a_run_that_says_it_was_interrupted_is_until_it_goes_on(tmp_path: Path) -> None:
    folder, follower = begin(tmp_path), Follower(tmp_path)
    interrupted = {"seconds": 0.5, "stage": None, "what": "interrupted", "detail": "by Ctrl-C"}

    states = []
    for record in (values(0.25), values(0.5, incidents=[interrupted]), values(0.3)):
        go_on(folder, record)
        states.append(read(follower).state)

    assert states == ["training", "interrupted", "training"]


def test_who_asks_for_what_is_new_gets_that_alone(tmp_path: Path) -> None:
    folder, follower = begin(tmp_path), Follower(tmp_path)
    go_on(folder, values(1.0, incidents=[lost(0.9)]))
    history = read(follower).history
    events, cells = history.events_number, history.cells_end

    nothing = follower.since(history.epochs, events, cells)
    go_on(folder, values(1.25, incidents=[lost(1.2)], evaluations=[evaluation(1, 1.1), evaluation(2, 1.2)], cell="B9"))
    news = read(follower).since(set(), events, cells)

    assert (nothing["events"], nothing["cells"]["strips"]) == ([], ["", ""])
    assert [event["seconds"] for event in news["events"]] == [1.2]
    assert [one["epoch"] for one in news["evaluations"]] == [1, 2]
    assert news["cells"] == {"ms": 5, "end": 250, "strips": ["B9" * 50] * 2}


def test_who_comes_late_gets_the_hiso_far(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    go_on(folder, *(values(number / 4, evaluations=[evaluation(number, number / 4)]) for number in range(1, 21)))

    told = read(Follower(folder)).so_far()

    assert len(told["history"]["seconds"]) == len(told["evaluations"]) == 20
    assert told["report"] is None
    assert len(told["cells"]["strips"][0]) == 2 * 50 * 20


@pytest.mark.parametrize("content", [b"no json\n", b"{}\n", b"[" * (9 << 20)], ids=["text", "another", "endless"])
def test_a_file_that_is_not_a_runs_own_is_told_and_not_read_on(content: bytes, tmp_path: Path) -> None:
    folder = begin(tmp_path)
    go_on(folder, values(0.25))
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(content)

    follower = read(Follower(folder))

    assert "metrics.jsonl has a line" in (follower.failure or "")
    assert follower.now()["failure"] == follower.failure
    assert not follower.refresh()


def test_what_cannot_be_read_for_a_while_is_read_later(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    (folder / "metrics.jsonl").mkdir()
    follower = read(Follower(folder))
    failure = follower.failure
    (folder / "metrics.jsonl").rmdir()
    go_on(folder, values(0.25))

    assert "Is a directory" in (failure or "")
    assert (read(follower).history.number, follower.failure) == (1, None)


def test_blank_lines_and_a_line_that_was_taken_back_are_passed_over(tmp_path: Path) -> None:
    folder, follower = begin(tmp_path), Follower(tmp_path)
    go_on(folder, values(0.25))
    whole = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(whole + b"\n" + whole[:50])
    read(follower)

    (folder / "metrics.jsonl").write_bytes(whole + b"\n")
    go_on(folder, values(0.5))

    assert (read(follower).history.number, follower.failure) == (2, None)


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, json.dumps({"test_accuracy": "<b>"})])
def test_a_damaged_report_is_told(content: str, tmp_path: Path) -> None:
    folder = begin(tmp_path)
    go_on(folder, values(0.25))
    (folder / "report.json").write_text(content)
    follower = read(Follower(folder))

    told = follower.so_far()

    assert told["report"] is None
    assert "report" in told["failure"]


def test_a_run_that_is_resumed_otherwise_is_shown_as_it_is_then(tmp_path: Path) -> None:
    folder, follower = begin(tmp_path, epochs=3), Follower(tmp_path)
    epochs = [read(follower).now()["run"]["epochs"]]

    begin(tmp_path, epochs=5000)
    epochs.append(read(follower).now()["run"]["epochs"])

    assert epochs == [3, 5000]
    assert folder == tmp_path


def test_a_long_run_is_not_finished_before_it_has_been_read(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    go_on(folder, *(values(number / 4, cells=200) for number in range(400)))
    (folder / "report.json").touch()
    follower = Follower(folder)

    follower.refresh()
    states = [follower.state, read(follower).state]

    assert states == ["training", "finished"]


def test_a_run_is_not_finished_before_its_last_record_has_been_read(tmp_path: Path) -> None:
    folder, follower = begin(tmp_path), Follower(tmp_path)
    go_on(folder, values(0.25))
    read(follower)

    go_on(folder, values(0.5))
    (folder / "report.json").touch()
    states = [follower.state, read(follower).state]

    assert states == ["training", "finished"]
    assert follower.history.number == 2


def test_reading_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    go_on(folder, values())
    before = {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(folder)}

    read(Follower(folder)).so_far()

    assert {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(folder)} == before
