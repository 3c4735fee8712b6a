"""Samples held out from training, by which a side's settings are judged before it is measured on the test set."""

import math
from dataclasses import replace

import numpy as np

from decoupled.bench.short_runs import spared
from decoupled.data.dataset import Dataset
from decoupled.runtime.resolve import ResolvedRun

TENTH = 10  # the held-out share of the training set is one in so many, drawn by chance
QUARTER = 4  # a try is one so-many-th of the run
SEED = 0x0417  # the same samples for all sides


def held_out(dataset: Dataset) -> Dataset:
    """The training set alone: nine tenths of it to train on, and the rest to test with."""
    order = np.random.default_rng(SEED).permutation(dataset.samples)
    tested, trained = np.split(order, [max(dataset.samples // TENTH, 1)])
    x, y = dataset.x_train, dataset.y_train
    return replace(dataset, x_train=x[trained], y_train=y[trained], x_test=x[tested], y_test=y[tested])


def quarter(resolved: ResolvedRun, dataset: Dataset) -> ResolvedRun:
    """A quarter of the run on those data, with a learning rate that falls in that time, evaluated once and without faults.

    Of a run that has fewer than four epochs it is a part of one.
    """
    run, wanted = resolved.run, resolved.run.epochs * dataset.samples / QUARTER
    kept = min(max(math.ceil(wanted), run.batch), dataset.samples)
    short = spared(run, max(round(wanted / kept), 1))
    part = replace(dataset, x_train=dataset.x_train[:kept], y_train=dataset.y_train[:kept])
    return replace(resolved, run=short, dataset=part)
