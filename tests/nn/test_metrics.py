"""Metrics: what is measured beside the loss, in parts that add up to the whole."""

import math

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from decoupled.errors import RunFailed
from decoupled.nn.metrics import measured, top5
from decoupled.nn.scores import Tally
from decoupled.nn.targets import CLASSIFICATION, Targets
from decoupled.tensors import Array

rng = np.random.default_rng(0)
OUTPUTS, CLASSES = rng.standard_normal((60, 9)).astype(np.float32), rng.integers(0, 9, 60)


def test_the_class_is_among_the_five_likeliest() -> None:
    (found,) = measured({"top5": top5}, OUTPUTS, CLASSES)

    assert found == pytest.approx(top_k_accuracy_score(CLASSES, OUTPUTS, k=5))


def test_fewer_than_five_classes_are_always_among_them() -> None:
    assert measured({"top5": top5}, OUTPUTS[:, :3], CLASSES % 3) == [1.0]


def test_tokens_have_a_value_at_every_position() -> None:
    outputs, tokens = OUTPUTS.reshape(6, 10, 9), CLASSES.reshape(6, 10)

    assert measured({"top5": top5}, outputs, tokens) == measured({"top5": top5}, OUTPUTS, CLASSES)


def test_parts_of_different_sizes_add_up() -> None:
    tally = Tally(metrics={"top5": top5})
    for rows in (slice(0, 50), slice(50, 60)):
        outputs, targets = OUTPUTS[rows], CLASSES[rows]
        tally.add(len(outputs), 1.0, 3, measured=tally.measure(outputs, targets))

    assert tally.score.metrics == pytest.approx({"top5": top_k_accuracy_score(CLASSES, OUTPUTS, k=5)})


def test_a_part_without_its_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match="0 metrics came where there are 1"):
        Tally(metrics={"top5": top5}).add(10, 1.0, 3)


@pytest.mark.parametrize(
    ("shape", "loss", "has_one"), [((8,), "softmax", True), ((8,), "mine.py:Loss", False), ((), "softmax", False)]
)
def test_tokens_have_a_perplexity(shape: tuple[int, ...], loss: str, has_one: bool) -> None:
    tally = Tally.of(Targets(CLASSIFICATION, shape=shape), 9, loss, ())
    tally.add(3, 1.0, 3)
    tally.add(1, 2.0, 0)

    assert tally.score.metrics == (pytest.approx({"perplexity": math.exp(1.25)}) if has_one else {})


def test_a_perplexity_beyond_all_numbers_is_one() -> None:
    tally = Tally(has_perplexity=True)
    tally.add(1, 1e6, 0)

    assert math.isfinite(tally.score.metrics["perplexity"])


def raising(outputs: Array, targets: Array) -> Array:
    raise KeyError("what")


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (raising, r"^The metric mine failed: KeyError: 'what'\.$"),
        (
            lambda outputs, targets: np.zeros(3),
            r"gave \(3,\) for 60 samples; give one value for each, or a mean\.$",
        ),
        (lambda outputs, targets: np.zeros((60, 0)), r"^The metric mine gave \(60, 0\) for 60 samples"),
        (lambda outputs, targets: "good", r"^The metric mine failed: ValueError"),
    ],
)
def test_a_metric_that_gives_none_is_told(metric: object, said: str) -> None:
    assert callable(metric)
    with pytest.raises(RunFailed, match=said):
        measured({"mine": metric}, OUTPUTS, CLASSES)


def test_a_metric_may_give_the_mean_itself() -> None:
    assert measured({"mine": lambda outputs, targets: 0.25}, OUTPUTS, CLASSES) == [0.25]
