"""Throughput of this working tree beside that of another commit: both trained in turn, compared round by round.

The commit is checked out into a git worktree of its own, which is removed at the end, and runs with this environment's Python.
Rates are steady ones: samples/s without the first and last 20 updates and without evaluations.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from decoupled import api
from decoupled.bench import trial
from decoupled.bench.benchmark import machine
from decoupled.bench.trial import Spread
from decoupled.config import Run
from decoupled.errors import DecoupledError
from decoupled.runtime.resolve import resolve

HERE = Path(__file__).parents[1]
BATCH, WARM_UP = 256, 20
HEAD = "| schedule | width | samples/s | before | ratio | lowest and highest |\n| --- | ---: | ---: | ---: | ---: | ---: |"


@dataclass
class Pair:
    """One schedule with hidden layers of one width: samples/s of both trees, one for each round."""

    schedule: str
    width: int
    now: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)

    def row(self) -> str:
        now, before = Spread.of(self.now), Spread.of(self.before)
        ratio = Spread.of([mine / its for mine, its in zip(self.now, self.before, strict=True)])
        cells = (self.schedule, str(self.width), f"{now.median:,.0f}", f"{before.median:,.0f}", f"{ratio.median:.3f}")
        return f"| {' | '.join(cells)} | {ratio.low:.3f}-{ratio.high:.3f} |"


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The commit's files, in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="decoupled-throughput-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def rate(tree: Path, run: Run, folder: Path) -> float:
    """Trains the run with the code of `tree` into the new folder; gives its steady samples/s."""
    options: dict[str, object] = {
        "data": run.data,
        "hidden": ",".join(map(str, run.hidden)),
        "schedule": run.schedule,
        "batch": run.batch,
    }
    options |= {"epochs": run.epochs, "seed": run.seed, "out": folder}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    trial.child(["env", "-C", str(folder.parent), f"PYTHONPATH={tree}", sys.executable, "-m", "decoupled", "train", *given])
    return trial.outcome(resolve(run, api.load_data(run)), folder, WARM_UP, None).samples_per_s


def compare(before: Path, pairs: list[Pair], data: str, epochs: int | None, rounds: int, folder: Path) -> None:
    """Adds the rates of all rounds to the pairs; which tree comes first changes from one round to the next."""
    for tree in (HERE, before):  # each compiles its kernels when it is first used
        rate(tree, Run(hidden=(64,), epochs=5), folder / f"first-{tree.name}")
    for number, pair in product(range(rounds), pairs):
        run = Run(
            data=data,
            hidden=(pair.width,) * 3,
            schedule=pair.schedule,
            batch=BATCH,
            epochs=epochs or max(1024 // pair.width, 1),
            seed=number,
        )
        turns = [("now", HERE), ("before", before)]
        for name, tree in turns if number % 2 == 0 else turns[::-1]:
            print(f"round {number + 1} of {rounds}: {pair.schedule} {pair.width} {name}", file=sys.stderr, flush=True)
            found = rate(tree, run, folder / f"{pair.schedule}-{pair.width}-{name}-{number}")
            (pair.now if name == "now" else pair.before).append(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/throughput", description=__doc__)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--schedules", default="dni,lockstep,single")
    parser.add_argument("--widths", default="256,1024", help="of the three hidden layers")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, help="by default 1 at width 1024, 4 at 256")
    options = parser.parse_args()
    about = machine()
    pairs = [Pair(name, int(width)) for width in options.widths.split(",") for name in options.schedules.split(",")]
    with tempfile.TemporaryDirectory(prefix="decoupled-runs-") as runs, checkout(options.commit) as before:
        compare(before, pairs, options.data, options.epochs, options.rounds, Path(runs))
    where = f"{about['cores']} cores of {about['processor']}, load before {about['load_before']}, now {os.getloadavg()[0]:.2f}"
    print(f"{where}; this tree beside {options.commit}; medians of {options.rounds} rounds, ratios round by round.\n")
    print("\n".join([HEAD, *(pair.row() for pair in pairs)]))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worktree is removed
    try:
        main()
    except (DecoupledError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
