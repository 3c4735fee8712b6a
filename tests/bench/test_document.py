"""What is made of a benchmark: the right numbers in the right cells, in every form."""

import json
from pathlib import Path
from typing import Any

import pytest

from decoupled.bench import document
from decoupled.bench.benchmark import Benchmark
from decoupled.bench.choice import Choice
from decoupled.bench.conditions import Condition
from decoupled.bench.document import LEGEND, SPEED, behaviour, page, speed, table, to_json, without_empty
from decoupled.plots import Point, curves
from tests.bench.cases import MACHINE, benchmark, case, outcome

COMMAND = "decoupled bench --schedule lockstep,dni"


@pytest.fixture(autouse=True, scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """matplotlib opens its fonts with the first picture and keeps them open: not a leak of the test that is first."""
    curves(tmp_path_factory.mktemp("first"), "title", "x", "y", {"dni": [Point(1, 1, 1, 1)]})


def worker(**values: Any) -> dict[str, Any]:
    usual = {"busy": 0.5, "staleness_mean": 0.0, "bytes_sent": 1_000_000, "peak_rss_mb": 100.0, "dropped": 0}
    return usual | {"steady_samples_per_s": 10_000.0} | values


def report(*workers: dict[str, Any], **values: Any) -> dict[str, Any]:
    """What the tables read of a run's report."""
    return {"workers_detail": list(workers), "overlap": 0.5, "seconds": 2.0, "memory_growth_mb": 0.0} | values


LOCKSTEP = report(worker(), worker())
DNI = report(
    worker(
        busy=0.714, staleness_mean=2.26, bytes_sent=30_000_000, peak_rss_mb=110.2, steady_samples_per_s=25_400.0, dropped=1_234
    ),
    worker(busy=0.96, staleness_mean=1.0, bytes_sent=10_000_000, peak_rss_mb=120.2, steady_samples_per_s=None),
    overlap=0.876,
    memory_growth_mb=3.4,
)


def measured(target: float | None = None) -> Benchmark:
    """Lockstep, dni and a peer; two rounds each. With a target, dni misses it in the second."""
    two, four = (None, None) if target is None else (2.0, 4.0)
    return benchmark(
        case("lockstep", outcome(10_000, four, **LOCKSTEP), outcome(20_000, two, **LOCKSTEP), floors=(100_000, 100_000)),
        case(
            "dni",
            outcome(25_000, two, **DNI, test_accuracy=0.95),
            outcome(40_000, None, **DNI, test_accuracy=0.94),
            floors=(100_000, 200_000),
        ),
        case("torch gpipe", outcome(5_000, None, test_accuracy=None), outcome(5_000, None, test_accuracy=None)),
        notes=("It rained.",),
        repeat=2,
        target=target,
    )


def rows(text: str) -> list[list[str]]:
    """The cells of every line of a Markdown table."""
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]


def test_the_first_table_has_medians_and_dashes_for_what_there_is_not() -> None:
    assert speed(measured(target=0.9)) == [
        ("lockstep", "15,000", "10.0-20.0k", "1.00", "-", "15%", "90.00%"),
        ("dni", "32,500", "25.0-40.0k", "2.25", "-", "22%", "94.50%"),
        ("torch gpipe", "5,000", "5.0-5.0k", "0.38", "-", "-", "-"),
    ]


def test_the_ratio_to_single_has_its_own_column() -> None:
    found = speed(benchmark(case("single", outcome(100)), case("lockstep", outcome(50)), case("dni", outcome(75))))

    assert [row[3:5] for row in found] == [("2.00", "1.00"), ("1.00", "0.50"), ("1.50", "0.75")]


def test_the_race_to_a_target_has_a_table_and_a_winner_only_where_there_is_one() -> None:
    text = table(measured(target=0.9), COMMAND)

    assert "Seconds of training to 90 %:" in text
    assert "- lockstep is first to 90 %, after 3 s, the only side that gets there.\n" in text
    assert "90 %" not in table(measured(), COMMAND)


def test_columns_in_which_nobody_has_anything_are_left_out() -> None:
    found = without_empty(
        ("side", "one has", "all have", "none has", "none counts"), [("dni", "-", "1", "-", "0"), ("gpipe", "2", "3", "-", "0")]
    )

    assert found == (("side", "one has", "all have"), [("dni", "-", "1"), ("gpipe", "2", "3")])


def test_without_losses_and_growth_the_second_table_on_the_page_has_no_columns_for_them() -> None:
    text = page(benchmark(case("lockstep", outcome(1, **LOCKSTEP))), COMMAND, [])

    header = [cell.strip() for cell in rows(text)[3]]
    assert header == ["side", "workers compute", "k samples/s", "overlap", "MB/s", "MB"]


def test_a_condition_is_named_beside_its_side() -> None:
    slow = case("dni", outcome(50), condition=Condition("latency", 2.5))

    assert speed(benchmark(slow))[0][0] == "dni, 2.5 ms"


def test_emulated_devices_learn_nothing_and_so_have_no_accuracy() -> None:
    row = speed(benchmark(case("dni", outcome(50), emulation={"device_ms": 20.0})))[0]

    assert row[SPEED.index("accuracy")] == "-"


def test_the_second_table_has_what_the_workers_did_in_the_last_round() -> None:
    assert behaviour(measured()) == [
        ("lockstep", "50% 50%", "10 10", "0", "0.50", "-", "1", "200", "0"),
        ("dni", "71% 96%", "25 -", "1,234", "0.88", "2.3", "20", "230", "3"),
    ]


def test_the_last_round_is_the_one_that_the_second_table_shows() -> None:
    early, late = report(worker(), overlap=0.1), report(worker(), overlap=0.2)

    assert behaviour(benchmark(case("dni", outcome(1, **early), outcome(1, **late))))[0][4] == "0.20"


@pytest.mark.parametrize("target", [None, 0.9])
def test_every_line_of_a_markdown_table_has_the_same_number_of_cells(target: float | None) -> None:
    found = rows(page(measured(target=target), COMMAND, []))
    first, race, second = found[: 2 + 3], found[2 + 3 : -4], found[-4:]

    assert {len(row) for row in first} == {6}, "nobody has a ratio to single"
    assert {len(row) for row in race} == ({5} if target else set())
    assert {len(row) for row in second} == {9}
    assert all(set(cell) <= set(" -:") for one in (first, race, second) if one for cell in one[1])


def test_the_page_begins_with_the_command_and_shows_notes_and_pictures() -> None:
    text = page(measured(), COMMAND, [Path("x/pictures/throughput.png")])

    assert text.startswith(f"```sh\n{COMMAND}\n```\n")
    assert "- It rained.\n" in text
    assert "![throughput](pictures/throughput.svg)" in text
    assert "2 cores of Abacus, Python 3.11.7, numpy 2.0.0, beads 1.0; 2 rounds, 2 updates at both ends of each left out" in text
    assert "load before 0.25." in text
    assert LEGEND in text


def test_the_report_has_what_was_measured_round_by_round() -> None:
    found = to_json(measured(target=0.9), COMMAND)

    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {"command", "machine", "cases", "ratios", "floor"} <= found.keys()
    assert (found["command"], found["repeat"], found["warm_up_updates"], found["target_accuracy"]) == (COMMAND, 2, 2, 0.9)
    assert found["machine"] == MACHINE
    assert [one["side"] for one in found["cases"]] == ["lockstep", "dni", "torch gpipe"]
    dni = found["cases"][1]
    assert dni["steady_samples_per_s"] == {"median": 32_500, "low": 25_000, "high": 40_000}
    assert dni["evaluations"] == [], "what train --json has of a run"
    assert [(one["steady_samples_per_s"], one["target_s"]) for one in dni["rounds"]] == [(25_000, 2.0), (40_000, None)]
    assert found["floor"]["dni as-is"] == {"median": 150_000, "low": 100_000, "high": 200_000}
    assert "torch gpipe as-is" not in found["floor"]
    assert found["ratios"]["dni as-is"] == {"lockstep": {"median": 2.25, "low": 2.0, "high": 2.5}}


def test_the_reports_prediction_is_for_emulated_devices() -> None:
    real, emulated = case("lockstep", outcome(1)), case("lockstep", outcome(1), emulation={"device_ms": 30.0})

    predictions = [one["predicted_samples_per_s"] for one in to_json(benchmark(real, emulated), COMMAND)["cases"]]

    assert predictions == [None, pytest.approx(250.0)]


def test_the_report_has_the_tries_by_which_settings_were_chosen() -> None:
    choice = Choice("gpipe", {"2 microbatches": [100, 110], "4 microbatches": [90, 80]})

    found = to_json(benchmark(case("gpipe", outcome(1)), choices=(choice,)), COMMAND)

    assert found["settings"] == {"gpipe": choice.to_json()}


def test_numbers_that_are_none_do_not_spoil_the_report() -> None:
    diverged = case("dni", outcome(1, test_loss=float("nan")))

    text = json.dumps(to_json(benchmark(diverged), COMMAND), allow_nan=False)

    assert json.loads(text)["cases"][0]["rounds"][0]["test_loss"] is None


def test_all_that_needs_no_runs_is_written_into_the_folder(tmp_path: Path) -> None:
    made = to_json(measured(), COMMAND)

    written = document.keep(measured(), tmp_path, made)

    names = {path.relative_to(tmp_path).as_posix() for path in written}
    assert names == {"report.json", "report.md", "table.md", "pictures/throughput.png"}
    assert all(path.stat().st_size for path in written)
    assert json.loads((tmp_path / "report.json").read_text()) == made
    assert (tmp_path / "table.md").read_text().startswith(f"```sh\n{COMMAND}\n```\n")
    assert (tmp_path / "report.md").read_text().startswith((tmp_path / "table.md").read_text())


def test_each_axis_has_a_curve_and_a_target_the_course_of_learning(tmp_path: Path) -> None:
    evaluated = {
        "evaluations": [
            {"epoch": 1, "loss": 0.5, "accuracy": 0.8, "training_s": 2.0},
            {"epoch": 2, "loss": 0.2, "accuracy": 0.9, "training_s": 4.0},
        ]
    }
    as_is = benchmark(case("dni", outcome(100, 4.0, **evaluated)), target=0.9)
    swept = benchmark(*(case("dni", outcome(100 / (1 + ms)), condition=Condition("latency", ms)) for ms in (0, 1, 5)))

    assert [path.name for path in document.pictures(as_is, tmp_path / "a")] == ["throughput.png", "learning.png"]
    assert [path.name for path in document.pictures(swept, tmp_path / "b")] == ["latency.png"]
    assert (tmp_path / "b" / "latency.svg").exists()
