"""A resolved run: the choices that a run left open."""

import pytest

from decoupled.config import Run
from decoupled.runtime.resolve import resolve
from tests.datasets import blobs


@pytest.mark.parametrize(("schedule", "microbatches"), [("gpipe", 4), ("1f1b", 4), ("lockstep", 1), ("dni", 1), ("single", 1)])
def test_a_batch_is_cut_into_four_where_a_schedule_can_use_it(schedule: str, microbatches: int) -> None:
    assert resolve(Run(schedule=schedule), blobs()).run.microbatches == microbatches


@pytest.mark.parametrize(("batch", "microbatches"), [(2, 1), (3, 1), (4, 2), (7, 3), (8, 4), (100, 4)])
def test_a_small_batch_is_cut_into_fewer_so_that_none_is_alone(batch: int, microbatches: int) -> None:
    assert resolve(Run(schedule="gpipe", batch=batch), blobs()).run.microbatches == microbatches
