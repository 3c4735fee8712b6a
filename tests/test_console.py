"""What a run prints of what it learns before it begins."""

from dataclasses import replace

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.console import Display
from decoupled.data.arrays import from_mapping
from decoupled.runtime.resolve import resolve
from decoupled.tensors import Array
from tests.datasets import blobs

rng = np.random.default_rng(0)
TOKENS = rng.integers(0, 7, (300, 5))


@pytest.mark.parametrize(
    ("y", "task", "said"),
    [
        (TOKENS, None, "classification, 7 classes at each position, as its targets look (--task says what they are)"),
        (TOKENS, "classification", "classification, 7 classes at each position"),
        (TOKENS, "regression", "regression, 5 values"),
        (TOKENS[:, 0], None, "classification, 7 classes, as its targets look (--task says what they are)"),
    ],
)
def test_a_run_says_what_it_took_the_targets_for(
    y: Array, task: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = from_mapping({"x_train": TOKENS, "y_train": y, "x_test": TOKENS[:20], "y_test": y[:20]}, "mine", task)
    resolved = replace(resolve(Run(), blobs()), dataset=data)

    Display(Run(task=task)).start(resolved)

    assert capsys.readouterr().out == f"mine: 300 samples to train on and 20 to test with; {said}\n"
