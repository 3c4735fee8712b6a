"""metrics.jsonl: whole JSON after every line, for whoever follows it while the run goes on."""

import json
import math
import resource
from pathlib import Path
from typing import Any, NoReturn

import pytest

from decoupled.telemetry.activity import CELL_NS
from decoupled.telemetry.counters import Counters
from decoupled.telemetry.evaluations import Part
from decoupled.telemetry.incidents import Incident
from decoupled.telemetry.sinks import MetricsFile, MetricsRecorder
from tests.conftest import silent
from tests.telemetry.spans import metrics, spans


def lines(path: Path) -> list[Any]:
    """Each line of a file as strict JSON, which knows neither NaN nor infinity."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is not JSON")

    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.mark.parametrize("text", ["ü", "ü\n" * 10_000], ids=["short", "long"])
def test_every_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path, silent) as sink:
        for number in range(3):
            sink.write({"number": number, "text": text})

            assert [line["number"] for line in lines(path)] == list(range(number + 1))


def test_a_record_of_a_run_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    moment = MetricsRecorder().record(metrics().progress(seconds=1.23456, epoch=1))

    with MetricsFile(path, silent) as sink:
        sink.write(moment)

    assert lines(path) == [moment]


def test_a_record_holds_the_run_its_workers_and_its_evaluations() -> None:
    moment = MetricsRecorder().record(metrics().progress(seconds=1.23456, epoch=1))

    assert (moment["seconds"], moment["samples"], moment["loss"], moment["overlap"]) == (1.235, 50, 0.5, 0.2)
    scores: dict[str, Any] = {"loss": 0.25, "accuracy": 0.9, "r2": None, "mae": None, "metrics": {}}
    assert moment["evaluations"] == [{"epoch": 1, "seconds": 2.0, **scores}]
    assert [(worker["stage"], worker["samples"]) for worker in moment["workers"]] == [(0, 60), (1, 50)]
    assert [worker["dropped"] for worker in moment["workers"]] == [3, 0]


def test_what_happened_once_is_in_one_record_and_in_the_next_if_that_was_lost() -> None:
    run, recorder = metrics(), MetricsRecorder()
    run.note(Incident(0.5, 1, "lost", "its process ended"))
    first, unsaid = (recorder.record(run.progress(1.0, 1)) for _ in range(2))

    recorder.told(run.progress(1.0, 1))
    run.evaluations.add(Part(0.5, 9, 10), 10, epoch=0, seconds=3.0)  # late
    run.note(Incident(0.9, 1, "rejoined", ""))
    run.report(Counters(0), spans((10 * CELL_NS, 12 * CELL_NS)), 12 * CELL_NS)
    run.report(Counters(1), spans(), 12 * CELL_NS)
    second = recorder.record(run.progress(2.0, 1))

    assert unsaid == first
    assert [[one["epoch"] for one in record["evaluations"]] for record in (first, second)] == [[1], [0]]
    assert [[one["what"] for one in record["incidents"]] for record in (first, second)] == [["lost"], ["rejoined"]]
    assert second["cells_end"] == 12
    assert [strip[-4:] for strip in second["strips"]] == ["F9F9", ".0.0"]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_went_to_infinity_is_still_json(tmp_path: Path, loss: float) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path, silent) as sink:
        sink.write({"loss": loss, "workers": [{"head_cosine": loss, "samples": 3}]})

    assert lines(path) == [{"loss": None, "workers": [{"head_cosine": None, "samples": 3}]}]


def test_a_run_that_is_resumed_goes_on_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for number in range(2):
        with MetricsFile(path, silent) as sink:
            sink.write({"number": number})

    assert lines(path) == [{"number": 0}, {"number": 1}]


def test_half_a_line_that_a_power_cut_left_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"number": 0}\n{"num')

    with MetricsFile(path, silent) as sink:
        sink.write({"number": 1})

    assert lines(path) == [{"number": 0}, {"number": 1}]


def test_a_disk_that_is_full_from_the_start_leaves_only_the_lines_that_were_whole(tmp_path: Path) -> None:
    path, warnings = tmp_path / "metrics.jsonl", list[str]()
    path.write_text('{"number": 0}\n{"num')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MetricsFile(path, warnings.append) as sink:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
            sink.write({"number": 1})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert path.read_bytes() == b'{"number": 0}\n'
    assert len(warnings) == 1


def test_a_full_disk_costs_records_and_a_warning_but_never_half_a_line(tmp_path: Path) -> None:
    """The kernel refuses what goes beyond the largest size of a file, just as a full disk would."""
    path, warnings = tmp_path / "metrics.jsonl", list[str]()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MetricsFile(path, warnings.append) as sink:
        sink.write({"number": 0})
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, hard))
            for number in (1, 2):
                sink.write({"number": number})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sink.write({"number": 3})

    assert lines(path) == [{"number": 0}, {"number": 3}]
    (warning,) = warnings
    assert warning.startswith(f"{path} cannot be written: ")
