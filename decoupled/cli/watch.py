"""Commands that watch a run: in a browser, or in the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from decoupled import folders
from decoupled.cli.app import Terminated, command
from decoupled.cli.watch_options import OpenPage, warn_of
from decoupled.console import say
from decoupled.launch.worker_process import end_with_stdin
from decoupled.watch.address import ADDRESS


@contextmanager
def ended_by_the_user() -> Iterator[None]:
    """For what is not a run: to interrupt it is its usual end, and there is nothing to be said."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        raise typer.Exit from None


@command
def dashboard(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, finished or not.")],
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to serve it.")] = ADDRESS,
    insecure: OpenPage = False,
    allow_faults: Annotated[bool, typer.Option("--allow-faults", hidden=True)] = False,
    owned: Annotated[bool, typer.Option("--owned", hidden=True)] = False,
) -> None:
    """Serve a page that shows a run, while it goes on or afterwards."""
    from decoupled.watch.serve import serve  # not above: workers start without a web server

    warn_of(address, allow_faults, insecure or owned)
    order = (lambda fault: say(fault.model_dump_json())) if allow_faults and owned else None
    if owned:
        end_with_stdin()
        serve(folder, address, order, say)
    else:
        folders.load_run(folder)
        with ended_by_the_user():
            serve(folder, address, None, lambda url: say(f"{folder} is shown at {url}. Ctrl-C ends that."))


@command
def top(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's folder, or the address of its page.")] = None,
) -> None:
    """Show a run in the terminal: one in this folder (by default the newest in runs/), or on another host by its page."""
    from decoupled.watch.top import show

    with ended_by_the_user():
        show(run)
