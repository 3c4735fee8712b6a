"""Timing: how long each layer of a model takes for a microbatch, by which the model is cut into stages; and a head."""

from statistics import median
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from decoupled import user_code
from decoupled.errors import DecoupledError, UsageError
from decoupled.nn.model import Model, Training
from decoupled.nn.partition import Work
from decoupled.nn.recipe import seeded
from decoupled.nn.stage import Stage
from decoupled.tensors import Tensors

ROUNDS = 5  # of which each layer's median counts
SECONDS = 1.0  # after which no other round begins


def measure(model: Model, training: Training, x: Tensors) -> Work:
    """Each layer in turn as a stage of its own, forward and back, in several rounds on one thread.

    Raises UsageError when one cannot be trained on such inputs.
    """
    stages = [model.stage((layer,), training) for layer in range(model.layers)]
    with threadpool_limits(1), seeded(training.seed):
        _round(model, stages, x)  # in which libraries make what they need
        rounds, end = list[list[tuple[float, float]]](), perf_counter() + SECONDS
        while not rounds or (len(rounds) < ROUNDS and perf_counter() < end):
            rounds.append(_round(model, stages, x))
    layers = [[median(times) for times in zip(*of_layer, strict=True)] for of_layer in zip(*rounds, strict=True)]
    forward, backward = zip(*layers, strict=True)
    return Work("ms", forward, backward)


def _round(model: Model, stages: list[Stage], x: Tensors) -> list[tuple[float, float]]:
    """What each layer takes forward and backward, in ms."""
    times = []
    for layer, stage in enumerate(stages):
        try:
            begun = perf_counter()
            passed = stage.forward(x)
            between = perf_counter()
            gradients = tuple(np.ones_like(array) for array in stage.outputs.differentiable(passed.outputs))
            made = perf_counter()
            stage.backward(passed, gradients, want_dx=layer > 0)
            times.append(((between - begun) * 1e3, (perf_counter() - made) * 1e3))
        except DecoupledError:
            raise
        except Exception as error:
            what = f"Layer {layer} ({model.name(layer)}) cannot train on {stage.inputs}"
            raise UsageError(f"{what}: {user_code.describe(error)}.") from error
        x = passed.outputs
    return times


def head_ms(stage: Stage, x: Tensors, targets: Tensors) -> float:
    """What the stage's head takes for the synthetic gradient of a microbatch, on one thread: the median of several."""
    with threadpool_limits(1):
        passed, times = stage.forward(x), list[float]()
        for _ in range(ROUNDS + 1):
            begun = perf_counter()
            stage.synthesize(passed, targets)
            times.append((perf_counter() - begun) * 1e3)
    return median(times[1:])
