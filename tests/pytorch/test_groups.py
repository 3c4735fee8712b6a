"""What an optimiser keeps in its groups is saved with the rest of its memory, as plain data, and comes back bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from decoupled import UsageError, user_code
from decoupled.config import Run
from decoupled.pytorch.optimisers import Optimiser, try_out
from decoupled.tensors import Array
from tests.cluster import Cluster
from tests.datasets import blobs
from tests.pytorch.runs import USUAL, alone, assert_same
from tests.pytorch.stages import floats

pytestmark = pytest.mark.slow

MINE = """
import torch


class Counting(torch.optim.SGD):
    '''Descent that slows down by a count in its group, and keeps there how it went.'''

    def step(self):
        for group in self.param_groups:
            group["count"] = group.get("count", 0) + 1
            group["slower"] = 1.0 / (1.1 * group["count"])
            group["way"] = (*group.get("way", ()), group["slower"])
            group["momentum"] = 1 / 3
            for p in group["params"]:
                if p.grad is not None:
                    p.data.sub_(p.grad, alpha=group["lr"] * group["slower"])


def counting(parameters, lr):
    return Counting(parameters, lr=lr)


class Hiding(Counting):
    def step(self):
        super().step()
        self.param_groups[0]["sum"] = torch.zeros(())


def hiding(parameters, lr):
    return Hiding(parameters, lr=lr)
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    user_code.allow(str(path))
    return str(path)


def optimiser(name: str) -> tuple[Optimiser, torch.Tensor]:
    weight = torch.from_numpy(floats(0, 3, 4)).requires_grad_()
    return Optimiser(name, {"0.weight": weight}, 0.1, {}), weight


def update(one: Optimiser, *seeds: int) -> None:
    for seed in seeds:
        one.step([torch.from_numpy(floats(seed, 3, 4))], 2, 1.0)


def group_of(one: Optimiser) -> dict[str, Any]:
    assert one._optimiser is not None
    return {name: value for name, value in one._optimiser.param_groups[0].items() if name != "params"}


def test_numbers_and_rows_of_them_come_back_as_they_were(mine: str) -> None:
    (saved, weight), (restored, other) = (optimiser(f"{mine}:counting") for _ in range(2))
    update(saved, 0, 1, 2)
    update(restored, 3)

    restored.load(saved.state())
    other.data.copy_(weight)
    assert group_of(restored) == group_of(saved)
    assert group_of(restored)["way"] == (1 / 1.1, 1 / 2.2, 1 / (1.1 * 3))
    for one in (saved, restored):
        update(one, 4, 5)

    assert group_of(restored) == group_of(saved)
    np.testing.assert_array_equal(other.detach().numpy(), weight.detach().numpy())


def test_one_that_has_made_no_update_forgets_what_it_had_counted(mine: str) -> None:
    fresh, used = optimiser(f"{mine}:counting")[0], optimiser(f"{mine}:counting")[0]
    update(used, 0)

    used.load(fresh.state())

    assert group_of(used) == group_of(fresh) | {"lr": group_of(used)["lr"]}


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "sgd"])
def test_what_stays_as_it_was_made_is_not_saved(name: str) -> None:
    one = optimiser(name)[0]
    update(one, 0, 1)

    assert "groups" not in one.state()


def test_what_is_no_plain_data_is_refused_before_training(mine: str) -> None:
    said = r"keeps a Tensor as sum in its groups, of which only numbers, texts and rows of these can be saved"
    with pytest.raises(UsageError, match=said):
        try_out(f"{mine}:hiding", [torch.zeros(3)], {})


def as_text(groups: object) -> Array:
    return np.frombuffer(json.dumps(groups).encode(), np.uint8)


HOSTILE: dict[str, Array] = {
    "no text": np.zeros(3),
    "no row": as_text(["{}"])[None],
    "no JSON": np.zeros(3, np.uint8),
    "vast": np.broadcast_to(np.uint8(32), 2**40),
    "deep": np.frombuffer(b"[" * 100_000, np.uint8),
    "no list": as_text(3),
    "more groups": as_text([{}, {}]),
    "no groups": as_text([]),
    "no names": as_text([[1]]),
    "no form": as_text([{"momentum": 0.5}]),
    "another kind": as_text([{"momentum": '"much"'}]),
    "parameters": as_text([{"params": "[]"}]),
    "a rate": as_text([{"lr": "1e9"}]),
    "another row": as_text([{"way": '{"set": [1]}'}]),
    "a row of rows": as_text([{"way": '{"tuple": [[1]]}'}]),
    "two rows": as_text([{"way": '{"tuple": [1], "list": [1]}'}]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_groups_are_refused_before_anything_has_changed(kind: str, mine: str) -> None:
    one, _ = optimiser(f"{mine}:counting")
    update(one, 0, 1)
    before = group_of(one)

    with pytest.raises(ValueError, match="groups"):
        one.load(one.state() | {"groups": HOSTILE[kind]})

    assert group_of(one) == before


@pytest.mark.parametrize("name", ["nadam", "mine.py:counting"])
def test_a_run_that_went_back_to_a_checkpoint_ends_as_a_quiet_one(name: str, mine: str) -> None:
    """Bit for bit: with the product of momenta that NAdam has for each parameter, and with a count in the group."""
    values: dict[str, Any] = USUAL | {"model": "torch-mlp", "hidden": (8, 8), "checkpoint": {"every": 5}}
    values |= {"optimiser": {"name": name.replace("mine.py", mine), "decay": "constant"}}
    cluster = Cluster(Run(**values, schedule="lockstep"), blobs())
    cluster.assemble()
    while cluster.store.latest() is None:
        cluster.advance()

    cluster.kill(1)
    cluster.run()

    report = cluster.coordinator.report()
    assert any(incident.what == "rolled back" and "beginning" not in incident.detail for incident in report.incidents)
    assert_same(alone(values | {"checkpoint": {}}, blobs()).network.arrays, report.network.arrays)
