"""Metrics: what is measured on the test set beside its loss and its right answers.

A metric is a function of the network's outputs and the targets, as the loss has them. It gives a value for each sample, or for
each of its positions, or their mean. A run names them; most are a user's own.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from decoupled import user_code
from decoupled.errors import RunFailed
from decoupled.registry import Registry
from decoupled.tensors import Array

Metric: TypeAlias = Callable[[Array, Array], Any]

PERPLEXITY = "perplexity"  # of tokens, which no run has to name


def top5(outputs: Array, targets: Array) -> Array:
    """Whether the class is among the five with the largest outputs."""
    count = min(5, outputs.shape[-1])
    found: Array = (np.argpartition(outputs, -count, axis=-1)[..., -count:] == targets[..., None]).any(axis=-1)
    return found


METRICS = Registry("metric", {"top5": top5})


def name_of(reference: str) -> str:
    """What a metric is called where it is shown."""
    return reference if reference in METRICS else user_code.split(reference)[1]


def load_metrics(references: Iterable[str]) -> dict[str, Metric]:
    """The metrics by their names. Raises UsageError where one cannot be had."""
    return {name_of(reference): METRICS[reference] for reference in references}


def measured(metrics: Mapping[str, Metric], outputs: Array, targets: Array) -> list[float]:
    """The mean that each gives over these samples. Raises RunFailed where one cannot."""
    if outputs.dtype.kind != "f" or outputs.dtype.itemsize < 4:  # such as bfloat16, of which numpy knows little
        outputs = outputs.astype(np.float32)
    return [_mean(name, metric, outputs, targets) for name, metric in metrics.items()]


def _mean(name: str, metric: Metric, outputs: Array, targets: Array) -> float:
    try:
        values = np.asarray(metric(outputs, targets), np.float64)
    except Exception as error:
        raise RunFailed(f"The metric {name} failed: {user_code.describe(error)}.") from error
    if values.ndim and (not values.size or len(values) != len(outputs)):
        raise RunFailed(f"The metric {name} gave {values.shape} for {len(outputs)} samples; give one value for each, or a mean.")
    return float(values.mean())
