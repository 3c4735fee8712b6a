"""Samples held out: which they are, and how short a try on the rest is."""

import numpy as np
import pytest

from decoupled.bench.held_out import held_out, quarter
from tests.bench.cases import drawn
from tests.datasets import blobs


def test_a_tenth_of_the_training_set_is_held_out_and_no_sample_of_the_test_set_is_seen() -> None:
    whole = blobs(train=200)
    part = held_out(whole)

    assert (part.samples, part.test_samples) == (180, 20)
    both = np.concatenate([part.x_train, part.x_test])
    assert sorted(map(tuple, both)) == sorted(map(tuple, whole.x_train))


def test_every_side_is_judged_by_the_same_samples() -> None:
    assert (held_out(blobs(train=200)).x_test == held_out(blobs(train=200)).x_test).all()


@pytest.mark.parametrize(
    ("epochs", "samples", "epochs_of_a_try"),
    [(8, 180, 2), (4, 180, 1), (6, 180, 2), (2, 90, 1), (1, 45, 1)],
)
def test_a_try_is_a_quarter_of_the_run(epochs: int, samples: int, epochs_of_a_try: int) -> None:
    resolved = drawn(blobs(train=200), epochs=epochs, runtime={"evaluate_every": 1})

    short = quarter(resolved, held_out(blobs(train=200)))

    assert (short.dataset.samples, short.run.epochs, short.run.runtime.evaluate_every) == (samples, epochs_of_a_try, 0)
    assert short.dataset.test_samples == 20


def test_nobody_is_killed_in_a_try() -> None:
    resolved = drawn(blobs(train=200), emulation={"kill_every_s": 30.0})

    assert quarter(resolved, held_out(blobs(train=200))).run.emulation.kill_every_s is None
