"""The options that let a run be watched while it trains, and who then hears of it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from decoupled.config import Fault, Run
from decoupled.console import say
from decoupled.errors import UsageError
from decoupled.launch.run_coordinator import ignore
from decoupled.telemetry.metrics import Progress
from decoupled.telemetry.tensorboard import EventFiles
from decoupled.watch.address import ADDRESS, check
from decoupled.watch.dashboard_process import DashboardProcess

OpenPage = Annotated[bool, typer.Option("--insecure", help="Let other hosts watch, where the address is open to them.")]


@dataclass(frozen=True, slots=True)
class Observers:
    """Who hears of a run while it goes on, and what they ask for."""

    progress: Callable[[Progress], None]
    take_faults: Callable[[], Sequence[Fault]]


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How a run is to be watched."""

    address: str | None  # of the page
    allow_faults: bool
    insecure: bool
    tensorboard: bool

    @contextmanager
    def watch(self, run: Run, folder: Path, warn: Callable[[str], None]) -> Iterator[Observers]:
        """Raises UsageError when the page cannot be served or the event files cannot be written."""
        if self.allow_faults and self.address is None:
            raise UsageError("--allow-faults puts buttons on the page of --dashboard, so give that as well.")
        if self.allow_faults and run.schedule == "single":
            raise UsageError("The schedule single has no workers to break. Leave --allow-faults out.")
        if self.address is not None:
            warn_of(self.address, self.allow_faults, self.insecure)
        with ExitStack() as stack:
            files = stack.enter_context(EventFiles(folder / "tensorboard", warn)) if self.tensorboard else None
            take_faults: Callable[[], Sequence[Fault]] = tuple
            if self.address is not None:
                dashboard = stack.enter_context(DashboardProcess(folder, self.address, self.allow_faults))
                take_faults = dashboard.take_faults
                say(f"Watch it at {dashboard.url}")
            yield Observers(files.write if files is not None else ignore, take_faults)


NOBODY = WatchOptions(None, allow_faults=False, insecure=False, tensorboard=False)


def watch_options(
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Serve a page that shows the run live.")] = False,
    dashboard_address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help=f"Serve it there (--dashboard alone: {ADDRESS}).")
    ] = None,
    allow_faults: Annotated[
        bool, typer.Option("--allow-faults", help="Buttons on the page that pause and kill workers.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write event files, to RUN/tensorboard.")] = False,
    insecure: OpenPage = False,
) -> WatchOptions:
    """How the run is to be watched, as the options say."""
    return WatchOptions(dashboard_address or (ADDRESS if dashboard else None), allow_faults, insecure, tensorboard)


def warn_of(address: str, allow_faults: bool, insecure: bool) -> None:
    """Says what to beware of when a page is served there, or raises UsageError."""
    if warning := check(address, allow_faults, insecure):
        print(f"warning: {warning}", file=sys.stderr)
