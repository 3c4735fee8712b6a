"""What is made of a benchmark: rows of a table, report.json, pictures, and a page in Markdown."""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from decoupled import api, plots
from decoupled.bench.benchmark import Benchmark, Case, Spread, predicted, rate
from decoupled.bench.conditions import LABELS, Axis
from decoupled.bench.floor import cores
from decoupled.checkpoint import write_whole
from decoupled.runtime.report import versions
from decoupled.telemetry.sinks import finite

REFERENCES = ("lockstep", "single", "torch")
COLUMNS = (
    "side",
    "samples/s",
    "spread",
    "of lockstep",
    "of single",
    "of floor",
    "overlap",
    "MB/s",
    "stale",
    "MB",
    "accuracy",
    "to target",
)


def rows(benchmark: Benchmark) -> list[tuple[str, ...]]:
    """The table, one row a case, in the order of COLUMNS."""
    return [_row(benchmark, case) for case in benchmark.cases]


def _row(benchmark: Benchmark, case: Case) -> tuple[str, ...]:
    speed, last = rate(case), case.outcomes[-1].report
    workers = last.get("workers_detail", [])
    of = {name: benchmark.ratio(case, name) for name in REFERENCES}
    share = Spread.of([o.samples_per_s / f for o, f in zip(case.outcomes, case.floors, strict=True)]) if case.floors else None
    sent = sum(worker["bytes_sent"] for worker in workers) / last["seconds"] / 1e6 if workers else None
    memory = sum(worker["peak_rss_mb"] for worker in workers) or last.get("peak_rss_mb")
    accuracy, reached = last["test_accuracy"], [outcome.target_s for outcome in case.outcomes]
    stale = max((worker["staleness_mean"] for worker in workers), default=0.0)
    return (
        case.side if not case.condition.axis else f"{case.side}, {case.condition.axis} {case.condition.value:g}",
        f"{speed.median:,.0f}",
        f"{speed.low:,.0f}-{speed.high:,.0f}",
        _or_dash(_median(of["lockstep"]), ".2f"),
        _or_dash(_median(of["single"]), ".2f"),
        _or_dash(_median(share), ".0%"),
        _or_dash(last.get("overlap"), ".2f"),
        _or_dash(sent, ",.0f"),
        _or_dash(stale or None, ".1f"),
        _or_dash(memory, ",.0f"),
        _or_dash(accuracy, ".2%"),
        _or_dash(None if None in reached else median(s for s in reached if s is not None), ".1f"),
    )


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def utilisation(benchmark: Benchmark) -> Iterator[tuple[str, str]]:
    """Each side's workers and the share of the time that each computes, in the last round."""
    for case in benchmark.cases:
        workers = case.outcomes[-1].report.get("workers_detail", [])
        if len(workers) > 1:
            yield case.name.removesuffix(" as-is"), "  ".join(f"{worker['busy']:.0%}" for worker in workers)


def to_json(benchmark: Benchmark, command: str) -> dict[str, Any]:
    """The object that report.json holds."""
    cases = []
    for case in benchmark.cases:
        about: dict[str, Any] = {"side": case.side, "condition": asdict(case.condition)}
        about["steady_samples_per_s"] = asdict(rate(case))
        about["floor"] = asdict(Spread.of(case.floors)) if case.floors else None
        about["predicted_samples_per_s"] = predicted(case, benchmark.plan.warm_up)
        cases.append(about | {"rounds": [outcome.to_json() for outcome in case.outcomes]})
    whole: dict[str, Any] = finite(
        {
            "command": command,
            "machine": machine(),
            "repeat": benchmark.plan.repeat,
            "warm_up_updates": benchmark.plan.warm_up,
            "target_accuracy": benchmark.plan.target,
            "notes": list(benchmark.notes),
            "cases": cases,
            "ratios": {case.name: _ratios(benchmark, case) for case in benchmark.cases},
        }
    )
    return whole


def _ratios(benchmark: Benchmark, case: Case) -> dict[str, Any]:
    found = {name: benchmark.ratio(case, name) for name in REFERENCES}
    return {name: asdict(spread) for name, spread in found.items() if spread is not None}


def machine() -> dict[str, Any]:
    """Where the figures were made."""
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {"processor": model, "cores": cores(), "system": platform.platform(), "load": os.getloadavg()[0]} | versions()


def pictures(benchmark: Benchmark, folder: Path) -> list[Path]:
    """Draws what the benchmark has to show, each as PNG and SVG; gives the PNG files."""
    drawn = []
    as_is = [case for case in benchmark.cases if not case.condition.axis]
    if as_is:
        values = {case.side: _point(0, rate(case)) for case in as_is}
        drawn.append(plots.bars(folder / "throughput", "Throughput, steady", "samples/s", values))
    if as_is and benchmark.plan.target is not None:
        moments = {case.side: _moments(case) for case in as_is if case.outcomes[0].report.get("evaluations")}
        drawn.append(plots.learning(folder / "learning", "Test loss and error while training", moments, benchmark.plan.target))
    for axis in dict.fromkeys(case.condition.axis for case in benchmark.cases if case.condition.axis):
        drawn.append(_curve(benchmark, axis, folder))
    timelines = [case for case in _with_spans(as_is) if case.side in ("lockstep", "dni")]
    if timelines:
        runs = [(case.side, api.load_spans(case.outcomes[0].report["folder"])) for case in timelines]
        drawn.append(plots.timeline(runs, folder / "timeline"))
    return [png for png, _ in drawn]


def _with_spans(cases: list[Case]) -> list[Case]:
    return [case for case in cases if case.outcomes[0].report.get("folder")]


def _curve(benchmark: Benchmark, axis: Axis, folder: Path) -> plots.Files:
    on_axis = [case for case in benchmark.cases if case.condition.axis == axis]
    sides = dict.fromkeys(case.side for case in on_axis)
    series = {side: [_point(case.condition.value, rate(case)) for case in on_axis if case.side == side] for side in sides}
    ideal = None
    emulated = [case for case in on_axis if case.side == "single" and case.blueprint.run.emulation.device_ms]
    if axis == "workers" and emulated:  # single's rate, times the workers: as many devices as layers
        ideal = [(case.condition.value, rate(case).median * case.condition.value) for case in emulated]
    title = f"Throughput against {LABELS[axis]}" + (" (emulated devices)" if emulated else "")
    return plots.curves(folder / axis, title, LABELS[axis], "samples/s", series, ideal)


def _point(x: float, spread: Spread) -> plots.Point:
    return plots.Point(x, spread.median, spread.low, spread.high)


def _moments(case: Case) -> list[plots.Moment]:
    outcome = case.outcomes[0]
    per_epoch_s = len(case.blueprint.dataset.x_train) / outcome.samples_per_s
    return [plots.Moment(e["epoch"] * per_epoch_s, e["loss"], e["accuracy"]) for e in outcome.report["evaluations"]]


def page(benchmark: Benchmark, command: str, pictures: list[Path]) -> str:
    """The benchmark in Markdown: the command, the machine, the table, the notes and the pictures."""
    about = machine()
    lines = [f"    {command}", "", f"{about['cores']} cores of {about['processor']}, Python {about['python']}, numpy"]
    lines[-1] += f" {about['numpy']} with {about['blas']}; {benchmark.plan.repeat} rounds, medians, lowest to highest."
    lines += ["", "| " + " | ".join(COLUMNS) + " |", "| --- " + "| ---: " * (len(COLUMNS) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(benchmark)]
    lines += [""] + [f"- {note}" for note in benchmark.notes] + [""]
    lines += [f"![{path.stem}]({path.parent.name}/{path.name})\n" for path in pictures]
    return "\n".join(lines)


def keep(benchmark: Benchmark, folder: Path, command: str) -> list[Path]:
    """Writes report.json, report.md, the pictures and the trace into the folder; gives what it wrote."""
    drawn = pictures(benchmark, folder / "pictures")
    write_whole(folder / "report.md", page(benchmark, command, drawn).encode())
    write_whole(folder / "report.json", (json.dumps(to_json(benchmark, command), indent=2) + "\n").encode())
    return [folder / "report.json", folder / "report.md", *drawn]
