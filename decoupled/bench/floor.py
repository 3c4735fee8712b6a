"""The floor: how fast a schedule would be if only its layers' matrix products took time, on all cores at once.

Each layer needs its output, its weights' gradient, and its input's gradient where that is used. The heads' own small
products, element-wise work, messages and waiting are not counted.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import threadpool_limits

from decoupled.config import Run
from decoupled.nn.dense_model import DenseModel
from decoupled.resources import cores
from decoupled.runtime.resolve import ResolvedRun
from decoupled.schedules.feedback import WHILE_ROOM

ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Product:
    """An m x k by k x n product in float32 or float64, needed `share` times for each batch."""

    m: int
    k: int
    n: int
    share: float
    dtype: str


def is_known(resolved: ResolvedRun) -> bool:
    """Of fully connected networks whose products are computed."""
    return isinstance(resolved.model, DenseModel) and resolved.run.emulation.device_ms is None


def products(resolved: ResolvedRun) -> list[Product]:
    """The products that one batch needs under the run's schedule."""
    run, architecture = resolved.run, resolved.architecture
    needed = []
    for stage, layers in enumerate(resolved.stages):
        for layer in layers:
            inputs, outputs = architecture.widths[layer : layer + 2]
            is_boundary = layer == layers[0] and stage > 0
            share = sent_back(run) if is_boundary else 1.0
            needed.append(Product(run.batch, inputs, outputs, 1.0, architecture.dtype))
            needed.append(Product(inputs, run.batch, outputs, 1.0, architecture.dtype))
            if layer > 0:
                needed.append(Product(run.batch, outputs, inputs, share, architecture.dtype))
    return needed


def sent_back(run: Run) -> float:
    """The share of the microbatches whose gradient goes from one stage to the one before it."""
    if run.schedule == "local":
        return 0.0
    if run.schedule == "dni" and run.dni.feedback in WHILE_ROOM:
        return run.dni.share
    return 1 / (run.feedback_every or 1) if run.schedule == "dni" else 1.0


def samples_per_s(resolved: ResolvedRun, at: int) -> float:
    """The floor's rate: every core busy with products, one BLAS thread each; measured once for each value of `at`."""
    seconds = sum(p.share * _seconds(p.m, p.k, p.n, p.dtype, at) for p in products(resolved))
    return resolved.run.batch * cores() / seconds


@cache
def _seconds(m: int, k: int, n: int, dtype: str, at: int) -> float:
    """One product's time on one core while all others do the same: the median of several rounds."""
    work = [_work(m, k, n, dtype) for _ in range(cores())]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(len(work)) as pool:
        rounds = [max(pool.map(lambda job: job(), work)) for _ in range(ROUNDS)]
    return float(np.median(rounds))


def _work(m: int, k: int, n: int, dtype: str) -> Callable[[], float]:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    out = np.empty((m, n), dtype)
    repeats = min(max(int(2e9 / (2 * m * k * n)), 1), 2000)  # about 20 ms, so that the pool's overhead does not count

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            np.matmul(a, b, out=out)
        return (time.perf_counter() - started) / repeats

    return measure
