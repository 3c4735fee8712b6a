"""torch-mlp is the numpy network: the same initial weights, and the same after training, but for rounding.

The data are float32: numpy's network makes that of wider inputs.
"""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from decoupled.nn.model import ModelSite
from decoupled.pytorch.models.mlp import make
from decoupled.tensors import Array, TensorSpec
from tests.datasets import prices
from tests.pytorch.runs import alone, over_workers
from tests.pytorch.samples import images

pytestmark = pytest.mark.slow

OF_NORM = {"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "variance"}


def as_numpy_has_it(arrays: dict[str, Array]) -> dict[str, Array]:
    """PyTorch's arrays by the names of the numpy network, with its weights turned round."""
    found = {}
    for name, array in arrays.items():
        module, _, last = name.rpartition(".")
        layer = f"layer{name.split('.')[0]}"
        if f"{module}.running_mean" not in arrays:
            found[f"{layer}.{last}"] = array.T
        elif last in OF_NORM:
            found[f"{layer}.norm.{OF_NORM[last]}"] = array
    return found


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_both_networks_learn_the_same(activation: str, optimiser: str, batch_norm: bool) -> None:
    network = {"activation": activation, "batch_norm": batch_norm, "dtype": "float64"}
    values: dict[str, Any] = {"hidden": (12, 10), "network": network, "optimiser": {"name": optimiser, "warm_up": 7}, "epochs": 3}

    theirs = alone({"model": "mlp"} | values, images(side=4)).network.arrays
    ours = as_numpy_has_it(alone({"model": "torch-mlp"} | values, images(side=4)).network.arrays)

    assert ours.keys() == {name for name in theirs if not name.startswith("input.")}
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("schedule", ["async1f1b", "2bw"])
def test_both_networks_keep_the_weights_of_passes_in_flight_alike(schedule: str) -> None:
    """Over the simulated network, where the same passes meet the same weights."""
    network = {"batch_norm": False, "dtype": "float64"}
    values: dict[str, Any] = {"hidden": (12, 10), "network": network, "epochs": 3}

    theirs, ours = (over_workers({"model": model} | values, images(side=4), schedule=schedule) for model in ("mlp", "torch-mlp"))

    assert [w.staleness_max for w in ours.workers_detail] == [w.staleness_max for w in theirs.workers_detail]
    assert max(w.staleness_max or 0 for w in ours.workers_detail) > 0
    for name, array in as_numpy_has_it(ours.network.arrays).items():
        np.testing.assert_allclose(array, theirs.network.arrays[name], rtol=0, atol=1e-10, err_msg=name)


def test_both_networks_score_values_alike() -> None:
    values = {"hidden": (12, 10), "network": {"dtype": "float64"}, "epochs": 3}

    theirs, ours = (over_workers({"model": model} | values, prices(), schedule="lockstep") for model in ("mlp", "torch-mlp"))

    assert ours.test_loss == pytest.approx(theirs.test_loss, rel=1e-5)
    assert ours.test_r2 == pytest.approx(theirs.test_r2, rel=1e-5)


def test_its_shapes_are_told_without_memory_for_it() -> None:
    """As for a folder that claims a gigantic network."""
    site = ModelSite(TensorSpec.of("float32", 1 << 20), TensorSpec.of("int64"), 3, (np.zeros(0), np.zeros(0)), "softmax", 0)

    with torch.device("meta"):
        blocks = make(site, hidden=(1 << 20, 1 << 20))

    assert blocks[1][0].weight.shape == (1 << 20, 1 << 20)
