"""Following a run: reads what its folder has to say, and reads on from there."""

import time
from collections.abc import Callable, Set
from os import stat_result
from pathlib import Path
from typing import Any

from decoupled import folders
from decoupled.config import Run
from decoupled.errors import UsageError
from decoupled.watch.history import RunHistory
from decoupled.watch.records import Outcome, outcome, parse

READ_BYTES = 1 << 17  # at a time
LINE_BYTES_MAX = 1 << 23
REPORT_BYTES_MAX = 1 << 24
QUIET_S = 3.0  # without a record, or four times what is between two
NOW_CELLS, NOW_EVENTS = 400, 10


class Follower:
    """The history of the run in a folder, which need not be there yet."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.history = folder, RunHistory()
        self._clock = clock
        self._facts: dict[str, Any] = {}
        self._facts_of: tuple[int, ...] = ()  # the very file that they are from
        self._quiet_s = QUIET_S
        self._offset = 0  # of the first line that has not been read
        self._is_finished = False  # and read to its end
        self.failure: str | None = None  # why the folder cannot be read on
        self._is_damaged = False
        self._outcome: Outcome | None = None

    def refresh(self) -> bool:
        """Takes in what is new, a part at a time; says whether there may be more."""
        if self._is_damaged:
            return False
        try:
            has_more = self._read_on()
        except UsageError as error:
            self.failure, self._is_damaged = str(error), True
            return False
        except OSError as error:  # which may pass
            self.failure = f"{self.folder} cannot be read: {error.strerror}."
            return False
        self.failure = None
        return has_more

    def _read_on(self) -> bool:
        self._read_facts()
        has_report = (self.folder / "report.json").exists()  # which is written last, so looked for first
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(self._offset)
                block = file.read(READ_BYTES)
                if len(block) == READ_BYTES and b"\n" not in block:
                    block += file.read(LINE_BYTES_MAX - READ_BYTES)
        except FileNotFoundError:
            return False
        lines, newline, _ = block.rpartition(b"\n")
        if not newline and len(block) == LINE_BYTES_MAX:
            parse(block)
        self._offset += len(lines) + len(newline)
        for line in filter(None, lines.split(b"\n")):
            self.history.add(parse(line))
        has_more = len(block) >= READ_BYTES
        self._is_finished = has_report and not has_more
        return has_more

    def _read_facts(self) -> None:
        """They may be others when a run is resumed."""
        found = _stat(self.folder / "run.toml")
        this = () if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)
        if this and this != self._facts_of:
            run = folders.load_run(self.folder)
            self._facts, self._quiet_s = facts(run), max(QUIET_S, 4 * run.runtime.report_every_s)
            self._facts_of = this

    @property
    def state(self) -> str:
        """waiting, training, quiet, interrupted or finished."""
        if self._is_finished:
            return "finished"
        if self.history.last is None:
            return "waiting"
        if self.history.is_interrupted:
            return "interrupted"
        return "quiet" if self.quiet_s > self._quiet_s else "training"

    @property
    def quiet_s(self) -> float:
        """Since the last record."""
        found = _stat(self.folder / "metrics.jsonl")
        return max(self._clock() - found.st_mtime, 0.0) if found is not None else 0.0

    def now(self) -> dict[str, Any]:
        """The run as it is: what it is, how it is going, the last moment, and what was new of late."""
        return self._told(self.history.evaluations()[-1:], NOW_EVENTS, NOW_CELLS)

    def since(self, epochs: Set[int], events_number: int, cells_end: int) -> dict[str, Any]:
        """The same for who knows the evaluations of these epochs, so many events, and the cells before that one."""
        events, cells = self.history.events_number - events_number, self.history.cells_end - cells_end
        return self._told(self.history.evaluations(epochs), events, max(cells, 0))

    def so_far(self) -> dict[str, Any]:
        """The same with all that led to it."""
        told = self._told(self.history.evaluations(), len(self.history.events), None)
        return told | {"history": self.history.points()}

    def _told(self, evaluations: list[dict[str, Any]], events: int, cells: int | None) -> dict[str, Any]:
        report = self._report()  # first: it may be damaged
        return {
            "run": {"folder": self.folder.name, **self._facts},
            "state": self.state,
            "quiet_s": round(self.quiet_s, 1),
            "failure": self.failure,
            "number": self.history.number,
            "now": self.history.now(),
            "evaluations": evaluations,
            "report": report,
            "events": [event.model_dump() for event in self.history.events][-events:] if events else [],
            "cells": self.history.cells() if cells is None else self.history.cells(cells),
        }

    def _report(self) -> dict[str, Any] | None:
        if self._outcome is None and self.state == "finished" and not self._is_damaged:
            try:
                self._outcome = self._read_report()
            except UsageError as error:
                self.failure, self._is_damaged = str(error), True
        return self._outcome.model_dump() if self._outcome is not None else None

    def _read_report(self) -> Outcome:
        path = self.folder / "report.json"
        if path.stat().st_size > REPORT_BYTES_MAX:
            raise UsageError(f"{path} is too large for the report of a run.")
        return outcome(folders.load_report(self.folder))


def _stat(path: Path) -> stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def facts(run: Run) -> dict[str, Any]:
    """What a run is, as far as it is worth a look."""
    return {
        "schedule": run.schedule,
        "data": run.data_name,
        "hidden": list(run.hidden),
        "batch": run.batch,
        "epochs": run.epochs,
        "head": run.head if run.schedule in ("dni", "local") else None,
        "window": run.link.window,
        "evaluate_every": run.runtime.evaluate_every,
    }
