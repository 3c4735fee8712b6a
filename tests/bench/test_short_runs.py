"""Tries: short runs, with real workers that stay from one to the next."""

import psutil
import pytest

from decoupled.bench.short_runs import TIMED_UPDATES, shortened, trying
from tests.bench.cases import drawn
from tests.datasets import blobs


@pytest.mark.parametrize(
    ("train", "epochs", "warm_up", "expected"),
    [
        (10_000, 3, 5, (1000, 1)),  # 50 updates, of 20 samples, in an epoch that has more
        (200, 9, 5, (200, 5)),  # an epoch has 10
        (200, 2, 5, (200, 2)),  # the run has no more
    ],
)
def test_a_try_has_the_updates_it_needs_or_all_of_the_run(
    train: int, epochs: int, warm_up: int, expected: tuple[int, int]
) -> None:
    assert 2 * warm_up + TIMED_UPDATES == 50

    short = shortened(drawn(blobs(train=train), epochs=epochs), warm_up)

    assert (short.dataset.samples, short.run.epochs) == expected
    assert {len(x) == len(y) for x, y in short.dataset.batches(20, 1, 0, 0)} == {True}


def test_a_try_is_evaluated_once_and_has_no_faults() -> None:
    fault = {"kind": "kill", "stage": 1, "microbatch": 3}

    short = shortened(drawn(runtime={"evaluate_every": 1}, faults=[fault]), 5)

    assert (short.run.runtime.evaluate_every, short.run.faults) == (0, ())


def test_workers_serve_one_try_after_another_and_end_with_the_last() -> None:
    def workers() -> set[int]:
        return {child.pid for child in psutil.Process().children() if "worker" in child.cmdline()}

    with trying(threads=1, warm_up=2) as train:
        assert train(drawn(schedule="single")).samples_per_s > 0
        assert train(drawn(schedule="gpipe", microbatches=2)).samples_per_s > 0
        first = workers()
        assert train(drawn(schedule="gpipe", microbatches=4)).samples_per_s > 0
        assert workers() == first

    assert len(first) == 3
    assert not workers()
