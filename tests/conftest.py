"""What every test is held to (it leaves no process, no thread and no open file behind), and which tests are run.

Without an option the quick ones are: those that are not marked `slow`, on fixed seeds. `--all` adds the slow ones,
more fixed seeds, and fresh random ones. A test that takes `seed` is run for each seed; a failing one is in the test's name,
and `--seed N` runs it again.
"""

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

QUICK_SEEDS, ALL_SEEDS, FRESH_SEEDS = 20, 100, 200


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("decoupled")
    group.addoption("--all", action="store_true", help="also the slow tests, on more seeds and on fresh random ones")
    group.addoption("--seeds", type=int, metavar="N", help=f"how many fresh seeds (default: {FRESH_SEEDS})")
    group.addoption("--seed", type=int, metavar="S", help="this seed alone, or with --seeds so many from here on")


def pytest_configure(config: pytest.Config) -> None:
    options = config.option
    if not options.all and not options.markexpr:
        options.markexpr = "not slow"
    run = getattr(config, "workerinput", {}).get("testrunuid")  # the processes of xdist must agree on the tests
    options.fresh_from = random.Random(run).randrange(1_000_000, 1_000_000_000)
    settings.register_profile("quick", max_examples=40, derandomize=True, deadline=None)
    settings.register_profile("all", max_examples=300, print_blob=True, deadline=None)
    settings.load_profile("all" if options.all else "quick")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes `seed` is run for each of the seeds; those that only --all runs are marked slow."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds(metafunc.config))


def seeds(config: pytest.Config) -> list[object]:
    options = config.option
    if options.seed is not None:
        return list(range(options.seed, options.seed + (options.seeds or 1)))
    if not options.all:
        return list(range(QUICK_SEEDS))
    fresh = range(options.fresh_from, options.fresh_from + (options.seeds or FRESH_SEEDS))
    more = [pytest.param(seed, marks=pytest.mark.slow) for seed in (*range(QUICK_SEEDS, ALL_SEEDS), *fresh)]
    return [*range(QUICK_SEEDS), *more]


def until(what: str, condition: object, seconds: float = 20.0, every_s: float = 0.01) -> None:
    """Waits for `condition()` to hold, and fails the test when it does not in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        threading.Event().wait(every_s)


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """A context that must leave no process, thread or open file behind."""
    me = psutil.Process()
    threads, files = threading.active_count(), me.num_fds()
    yield
    try:
        until("child processes to end", lambda: not me.children(recursive=True))
    except AssertionError:
        for child in me.children(recursive=True):  # so that one failure does not become many
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                child.kill()
                child.wait()
        raise
    until("threads to end", lambda: threading.active_count() <= threads)
    until("files to be closed", lambda: me.num_fds() <= files + 3)  # libraries may open a few for good at first use


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    with leaving_nothing():
        yield


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment for command lines under test: wide, without colours, and loud about warnings."""
    return {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "PYTHONWARNINGS": "error", "TERM": "dumb"}


def silent(sentence: str) -> None:
    """Hears what must not be said."""
    raise AssertionError(f"nothing is wrong, and yet: {sentence}")
