"""Following a run: reads what its folder has to say, and reads on from there."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decoupled import folders
from decoupled.config import Run
from decoupled.watch.records import Event, parse
from decoupled.watch.story import Story

READ_BYTES = 1 << 17  # at a time
LINE_BYTES_MAX = 1 << 22
QUIET_S = 3.0  # without a record


class Follower:
    """The story of the run in a folder, which need not be there yet."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.story = folder, Story()
        self._clock = clock
        self._facts: dict[str, Any] = {}
        self._offset = 0
        self._rest = b""
        self._checkpoints: set[str] | None = None

    def refresh(self) -> bool:
        """Takes in what is new, a part at a time; says whether there was anything. Raises UsageError when it is damaged."""
        if not self._facts and (self.folder / "run.toml").exists():
            self._facts = facts(folders.load_run(self.folder))
        try:
            with (self.folder / "metrics.jsonl").open("rb") as file:
                file.seek(self._offset)
                block = file.read(READ_BYTES)
        except FileNotFoundError:
            return False
        self._offset += len(block)
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            parse(self._rest)
        for line in lines:
            self.story.add(parse(line))
        self._look_for_checkpoints()
        return bool(block)

    def _look_for_checkpoints(self) -> None:
        """Those that are complete, from the first look on."""
        found = {path.parent.name for path in self.folder.glob(f"{folders.CHECKPOINTS}/*/manifest.json")}
        if self._checkpoints is not None and self.story.last is not None:
            for name in sorted(found - self._checkpoints):
                detail = f"after microbatch {int(name.split('-')[0]):,}"
                self.story.note(Event(seconds=self.story.last.seconds, stage=None, what="checkpoint", detail=detail))
        self._checkpoints = found

    @property
    def state(self) -> str:
        """waiting, training, quiet or finished."""
        if (self.folder / "report.json").exists():
            return "finished"
        if self.story.last is None:
            return "waiting"
        return "quiet" if self.quiet_s > QUIET_S else "training"

    @property
    def quiet_s(self) -> float:
        """Since the last record."""
        try:
            return max(self._clock() - (self.folder / "metrics.jsonl").stat().st_mtime, 0.0)
        except FileNotFoundError:
            return 0.0

    def now(self) -> dict[str, Any]:
        """The run as it is: what it is, how it is going, and the last moment."""
        return {
            "run": {"folder": self.folder.name, **self._facts},
            "state": self.state,
            "quiet_s": round(self.quiet_s, 1),
            "number": self.story.number,
            "now": self.story.now(),
            "evaluations": self.story.evaluations()[-1:],
            "events": [event.model_dump() for event in self.story.events][-10:],
            "cells": self.story.cells(400),
        }

    def since(self, events_number: int, cells_end: int) -> dict[str, Any]:
        """The same for who knows the events and cells before those."""
        unknown = self.story.events_number - events_number
        return self.now() | {
            "events": [event.model_dump() for event in self.story.events][-unknown:] if unknown else [],
            "cells": self.story.cells(self.story.cells_end - cells_end),
        }

    def story_so_far(self) -> dict[str, Any]:
        """The same with all that led to it."""
        return self.now() | {
            "history": self.story.history(),
            "evaluations": self.story.evaluations(),
            "events": [event.model_dump() for event in self.story.events],
            "cells": self.story.cells(),
            "report": self._report(),
        }

    def _report(self) -> dict[str, Any] | None:
        path = self.folder / "report.json"
        if not path.exists():
            return None
        report = folders.load_report(self.folder)
        return {name: report.get(name) for name in ("test_accuracy", "test_loss", "samples_per_s", "seconds", "overlap")}


def facts(run: Run) -> dict[str, Any]:
    """What a run is, as far as it is worth a look."""
    return {
        "schedule": run.schedule,
        "data": run.data_name,
        "hidden": list(run.hidden),
        "batch": run.batch,
        "epochs": run.epochs,
        "head": run.head if run.schedule == "dni" else None,
        "window": run.link.window,
    }
