"""The results of a benchmark as tables, report.json, pictures, and a page in Markdown."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from decoupled import folders, plots, trained
from decoupled.bench import prediction, race
from decoupled.bench.benchmark import Benchmark, Case, rate
from decoupled.bench.conditions import AS_IS, LABELS, Axis, Condition
from decoupled.bench.trial import Spread
from decoupled.checkpoint import write_whole
from decoupled.telemetry.sinks import finite

REFERENCES = ("lockstep", "single", "torch")
SPEED = ("side", "samples/s", "spread", "/lockstep", "/single", "floor", "accuracy")
LEGEND = """Ratios are medians of each round's own. *floor*: share of what the layers' products alone would allow on these cores.
The last table is of the last round: *workers compute* and *k samples/s* for each worker; *dropped* outputs; *stale*: mean
updates between a forward pass and the use of its returned gradient, at the stage where it is largest; *MB*: the workers' peak
memory together, and its *growth* after the first quarter."""
TRACE_S = 1.0  # of each run, from its middle: a few hundred updates, in a file that opens quickly
BEHAVIOUR = ("side", "workers compute", "k samples/s", "dropped", "overlap", "stale", "MB/s", "MB", "growth")


def speed(benchmark: Benchmark) -> list[tuple[str, ...]]:
    """The first table, one row a case, in the order of SPEED."""
    return [_speed(benchmark, case) for case in benchmark.cases]


def _speed(benchmark: Benchmark, case: Case) -> tuple[str, ...]:
    steady = rate(case)
    of_floor = [outcome.samples_per_s / floor for outcome, floor in zip(case.outcomes, case.floors, strict=False)]
    return (
        case.words,
        f"{steady.median:,.0f}",
        f"{steady.low / 1000:,.1f}-{steady.high / 1000:,.1f}k",
        _or_dash(_median(benchmark.ratio(case, "lockstep")), ".2f"),
        _or_dash(_median(benchmark.ratio(case, "single")), ".2f"),
        _or_dash(median(of_floor) if of_floor else None, ".0%"),
        _or_dash(_accuracy(case), ".2%"),
    )


def behaviour(benchmark: Benchmark) -> list[tuple[str, ...]]:
    """The second table, one row for each case except the peers, from its last round, in the order of BEHAVIOUR."""
    return [_behaviour(case) for case in benchmark.cases if case.outcomes[-1].report.get("workers_detail")]


def _behaviour(case: Case) -> tuple[str, ...]:
    last = case.outcomes[-1].report
    workers = last["workers_detail"]
    stale = max(worker["staleness_mean"] for worker in workers)
    return (
        case.words,
        " ".join(f"{worker['busy']:.0%}" for worker in workers),
        " ".join(_or_dash(worker["steady_samples_per_s"] and worker["steady_samples_per_s"] / 1000, ".0f") for worker in workers),
        f"{sum(worker['dropped'] for worker in workers):,}",
        f"{last['overlap']:.2f}",
        _or_dash(stale or None, ".1f"),
        f"{sum(worker['bytes_sent'] for worker in workers) / last['seconds'] / 1e6:,.0f}",
        f"{sum(worker['peak_rss_mb'] for worker in workers):,.0f}",
        f"{last['memory_growth_mb']:,.0f}",
    )


def _accuracy(case: Case) -> float | None:
    found = [outcome.report["test_accuracy"] for outcome in case.outcomes]
    return None if None in found or case.resolved.run.emulation.device_ms else median(found)


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _or_dash(value: float | None, form: str) -> str:
    if value is None:
        return "-"
    return format(value, form)


def to_json(benchmark: Benchmark, command: str) -> dict[str, Any]:
    """The object that report.json holds."""
    whole: dict[str, Any] = finite(
        {
            "command": command,
            "machine": benchmark.machine,
            "repeat": benchmark.plan.repeat,
            "warm_up_updates": benchmark.plan.warm_up,
            "target_accuracy": benchmark.plan.target,
            "settings": {choice.side: choice.to_json() for choice in benchmark.choices},
            "rates": {choice.side: choice.to_json() for choice in benchmark.rates},
            "notes": list(benchmark.notes),
            "winners": race.winners(benchmark),
            "cases": [_case(case, benchmark.plan.warm_up) for case in benchmark.cases],
            "ratios": {case.name: _ratios(benchmark, case) for case in benchmark.cases},
            "floor": {case.name: asdict(Spread.of(case.floors)) for case in benchmark.cases if case.floors},
        }
    )
    return whole


def _case(case: Case, warm_up: int) -> dict[str, Any]:
    """A case: the report of its median round, as `train --json` gives it, and the results of all rounds."""
    by_rate = sorted(case.outcomes, key=lambda outcome: outcome.samples_per_s)
    return by_rate[(len(by_rate) - 1) // 2].report | {
        "side": case.side,
        "condition": asdict(case.condition),
        "lr": case.resolved.run.lr,
        "seconds_to_target": race.Times.of(case).to_json(),
        "steady_samples_per_s": asdict(rate(case)),
        "predicted_samples_per_s": _predicted(case, warm_up),
        "rounds": [outcome.to_json() for outcome in case.outcomes],
    }


def _predicted(case: Case, warm_up: int) -> float | None:
    return None if case.settings is not None else prediction.samples_per_s(case.resolved, warm_up, case.messages)


def _ratios(benchmark: Benchmark, case: Case) -> dict[str, Any]:
    found = {name: benchmark.ratio(case, name) for name in REFERENCES}
    return {name: asdict(spread) for name, spread in found.items() if spread is not None}


def pictures(benchmark: Benchmark, folder: Path) -> list[Path]:
    """Draws the pictures, each as PNG and SVG; gives the PNG files."""
    drawn = []
    as_is = [case for case in benchmark.cases if not case.condition.axis] if benchmark.plan.conditions == (AS_IS,) else []
    if as_is:
        values = {case.side: _point(0, rate(case)) for case in as_is}
        drawn.append(plots.bars(folder / "throughput", "Throughput, steady", "samples/s", values))
    if benchmark.plan.target is not None:
        drawn += [_learning(benchmark, condition, folder) for condition in benchmark.plan.conditions]
    for axis in dict.fromkeys(case.condition.axis for case in benchmark.cases if case.condition.axis):
        drawn.append(_curve(benchmark, axis, folder))
    timelines = [case for case in _with_spans(as_is) if case.side in ("lockstep", "dni")]
    if timelines:
        runs = [(case.side, folders.load_spans(case.outcomes[0].report["folder"])) for case in timelines]
        drawn.append(plots.timeline(runs, folder / "timeline"))
    return [png for png, _ in drawn]


def _with_spans(cases: list[Case]) -> list[Case]:
    return [case for case in cases if case.outcomes[0].report.get("folder")]


def _curve(benchmark: Benchmark, axis: Axis, folder: Path) -> plots.Files:
    on_axis = [case for case in benchmark.cases if case.condition.axis == axis]
    sides = dict.fromkeys(case.side for case in on_axis)
    series = {side: [_point(case.condition.value, rate(case)) for case in on_axis if case.side == side] for side in sides}
    ideal = None
    emulated = [case for case in on_axis if case.side == "single" and case.resolved.run.emulation.device_ms]
    if axis == "workers" and emulated:  # single's rate, times the workers: as many devices as layers
        ideal = [(case.condition.value, rate(case).median * case.condition.value) for case in emulated]
    title = f"Throughput against {LABELS[axis]}" + (" (emulated devices)" if emulated else "")
    return plots.curves(folder / axis, title, LABELS[axis], "samples/s", series, ideal)


def _point(x: float, spread: Spread) -> plots.Point:
    return plots.Point(x, spread.median, spread.low, spread.high)


def _learning(benchmark: Benchmark, condition: Condition, folder: Path) -> plots.Files:
    sides = dict.fromkeys(case.side for case in benchmark.cases)
    cases = [case for side in sides if (case := benchmark.case(side, condition)) and case.outcomes[0].report.get("evaluations")]
    losses, errors = ({case.side: of(case) for case in cases} for of in (race.losses, race.errors))
    title, name = "Test loss and error while training", "learning"
    if condition.axis:
        title, name = f"{title}, {condition.words}", f"{name}-{condition.name}"
    return plots.learning(folder / name, title, losses, errors, benchmark.plan.target)


def page(benchmark: Benchmark, command: str, pictures: list[Path]) -> str:
    """The benchmark in Markdown: all tables, the notes and the pictures."""
    notes = [*(f"- {note}" for note in benchmark.notes), ""]
    lines = [table(benchmark, command), *notes, *_markdown(BEHAVIOUR, behaviour(benchmark)), "", LEGEND, ""]
    lines += [f"![{path.stem}]({path.parent.name}/{path.stem}.svg)\n" for path in pictures]
    return "\n".join(lines)


def table(benchmark: Benchmark, command: str) -> str:
    """The command, the machine, the first table, and the race to the target if there is one, in Markdown."""
    about, plan = benchmark.machine, benchmark.plan
    where = f"{about['cores']} cores of {about['processor']}, Python {about['python']}, numpy {about['numpy']}, {about['blas']}"
    how = f"{plan.repeat} rounds, {plan.warm_up} updates at both ends of each left out; medians; load before"
    how += f" {about['load_before']}."
    lines = ["```sh", command, "```", "", f"{where}; {how}", "", *_markdown(SPEED, speed(benchmark)), ""]
    if raced := race.rows(benchmark):
        lines += [
            race.title(benchmark),
            "",
            *_markdown(race.HEAD, raced),
            "",
            *(f"- {said}" for said in race.winners(benchmark)),
            "",
        ]
    return "\n".join(lines)


def without_empty(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The table without the columns that are empty in every row."""
    kept = [i for i in range(len(columns)) if any(row[i] not in ("-", "0") for row in rows)]
    return tuple(columns[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]


def _markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    columns, rows = without_empty(columns, rows)
    ruler = "| --- " + "| ---: " * (len(columns) - 1) + "|"
    return ["| " + " | ".join(columns) + " |", ruler, *("| " + " | ".join(row) + " |" for row in rows)]


def keep(benchmark: Benchmark, folder: Path, report: dict[str, Any]) -> list[Path]:
    """Writes report.json, report.md, table.md, the pictures and a trace into the folder; gives their paths."""
    drawn, command = pictures(benchmark, folder / "pictures"), report["command"]
    write_whole(folder / "report.md", page(benchmark, command, drawn).encode())
    write_whole(folder / "table.md", table(benchmark, command).encode())
    write_whole(folder / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    written = [folder / "report.json", folder / "report.md", folder / "table.md", *drawn]
    if runs := _with_spans([case for case in benchmark.cases if case.condition == benchmark.plan.conditions[0]]):
        trained.trace([case.outcomes[0].report["folder"] for case in runs], folder / "trace.json", TRACE_S)
        written.append(folder / "trace.json")
    return written
