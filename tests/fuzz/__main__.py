"""The search: runs a target on inputs that a coverage-guided fuzzer makes. It ends with 0 if the target raised nothing."""

import argparse
import importlib
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import atheris


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=("codec", "rendezvous"))
    parser.add_argument("--runs", type=int, default=-1, help="inputs to try (default: no end)")
    parser.add_argument("--seconds", type=int, default=0, help="how long to try (default: no end)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("inputs", nargs="*", help="only these files, as the search left them")
    options = parser.parse_args()
    with atheris.instrument_imports(include=["decoupled"], exclude=["decoupled.nn.kernels"]):  # those are compiled
        target = importlib.import_module(f"tests.fuzz.{options.target}")
    warnings.simplefilter("ignore")  # of numpy, about what hostile numbers come to
    with TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        limits = [f"-max_len={target.INPUT_BYTES_MAX}", f"-seed={options.seed}", "-timeout=20", "-rss_limit_mb=2048"]
        limits.append(f"-artifact_prefix={gettempdir()}/{options.target}-")
        ends = [f"-runs={options.runs}", f"-max_total_time={options.seconds}", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *limits, *(options.inputs or [*ends, corpus])], target.one_input)
        atheris.Fuzz()


main()
