"""Runs of PyTorch's models on a simulated network and in one process, and what is compared of them."""

from typing import Any

import numpy as np

from decoupled.config import Run
from decoupled.data.source import DataSource
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import resolve
from decoupled.runtime.single import train_single
from decoupled.tensors import Array
from tests.cluster import Cluster
from tests.pytorch.samples import Texts, images

VGG: dict[str, Any] = {"model": "vgg", "args": {"model": {"width": 4, "dense": 8, "dropout": 0.2}}}
RESNET: dict[str, Any] = {"model": "resnet", "args": {"model": {"width": 4}}}
GPT: dict[str, Any] = {"model": "gpt", "args": {"model": {"width": 16, "heads": 2, "depth": 2, "dropout": 0.2}}}
USUAL: dict[str, Any] = {"epochs": 2, "batch": 20, "workers": 3}


def data_for(values: dict[str, Any]) -> DataSource:
    return Texts() if values["model"] == "gpt" else images()


def over_workers(values: dict[str, Any], data: DataSource | None = None, **more: Any) -> Report:
    cluster = Cluster(Run(**USUAL | values | more), data or data_for(values))
    cluster.run()
    return cluster.coordinator.report()


def alone(values: dict[str, Any], data: DataSource | None = None, **more: Any) -> Report:
    run = Run(**USUAL | values | {"workers": None, "stages": None, "schedule": "single"} | more)
    return train_single(resolve(run, data or data_for(values)), lambda progress: None)


def assert_same(one: dict[str, Array], other: dict[str, Array], apart: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, rtol=0, atol=apart, err_msg=name)
