"""The command that looks for what goes wrong in practice, before it does."""

from dataclasses import asdict
from itertools import chain
from typing import Annotated

import typer

from decoupled.cli.app import JsonFile, can_be_written, command, write_json
from decoupled.cli.options import ADDRESS, DEFAULT, Host, Insecure, KeysFolder
from decoupled.doctor.display import show
from decoupled.doctor.examine import run_here, this_machine, way_to
from decoupled.transport.address import host_and_port
from decoupled.watch.address import ADDRESS as PAGE

WORKERS = len(DEFAULT.hidden) + 1
USED = {
    int(host_and_port(ADDRESS)[1]): ("a coordinator", "coordinator --bind tcp://127.0.0.1:PORT"),
    int(PAGE.rpartition(":")[2]): ("a run's page", "--dashboard-address 127.0.0.1:PORT"),
}


@command
def doctor(
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help=f"Workers that are to run on this machine (default {WORKERS}; with --join 1)."),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Try the way to the coordinator that waits or trains there, as a worker."),
    ] = None,
    host: Host = "127.0.0.1",
    keys: KeysFolder = None,
    insecure: Insecure = False,
    json_file: JsonFile = None,
) -> None:
    """Check what goes wrong in practice, here or on the way to a coordinator; say what to do. Exit code 1: something fails."""
    can_be_written(json_file)
    rest = run_here(USED) if join is None else way_to(join, host, keys, insecure)
    count = workers or (WORKERS if join is None else 1)
    findings = show(chain(this_machine(count, DEFAULT.runtime.threads), rest))
    fails = any(finding.state == "fail" for finding in findings)
    if json_file is not None:
        write_json(json_file, {"fails": fails, "findings": [asdict(finding) for finding in findings]})
    if fails:
        raise typer.Exit(1)
