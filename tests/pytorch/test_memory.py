"""A worker keeps of the network what its stage is made of, and none of the other blocks."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from torch import nn

from decoupled import user_code
from decoupled.config import Run
from decoupled.nn.model import Model
from decoupled.pytorch.model import TorchModel
from decoupled.pytorch.stage import TorchStage
from decoupled.runtime.resolve import build_model
from tests.cluster import Cluster
from tests.pytorch.runs import GPT, RESNET, USUAL, VGG, data_for

pytestmark = pytest.mark.slow

OWN_HEAD = """
from torch import nn

def make(site):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(site.first.shape[0], site.outputs))
"""


@pytest.fixture
def initial(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[nn.Module]]:
    """All parts of all networks that workers make, as long as somebody has them."""
    parts = list[weakref.ref[nn.Module]]()

    def noted(*given: Any) -> Model:
        model = build_model(*given)
        assert isinstance(model, TorchModel)
        parts.extend(weakref.ref(part) for block in model.blocks for part in block.module.modules())
        return model

    monkeypatch.setattr("decoupled.runtime.assignment.build_model", noted)
    return parts


def assembled(values: dict[str, Any], **more: Any) -> Cluster:
    cluster = Cluster(Run(**USUAL | values | more), data_for(values))
    cluster.assemble()
    return cluster


def blocks_of(cluster: Cluster) -> list[set[int]]:
    """The places of those that each worker trains, without what standardises the inputs."""
    found = []
    for worker in cluster.workers:
        assert worker._session is not None
        stage = worker._session._executor.stage
        assert isinstance(stage, TorchStage)
        found.append({place for place in stage._blocks if place >= 0})
    return found


@pytest.mark.parametrize("schedule", ["dni", "lockstep"])
@pytest.mark.parametrize("values", [VGG, RESNET, GPT], ids=lambda values: str(values["model"]))
def test_nothing_of_the_whole_network_is_left_once_it_is_cut(
    values: dict[str, Any], schedule: str, initial: list[weakref.ref[nn.Module]]
) -> None:
    """Also where heads read the last stage's output layer, of which they have copies."""
    cluster = assembled(values, schedule=schedule)
    gc.collect()

    assert len(initial) > 10
    assert [part() for part in initial if part() is not None] == []
    assert [set(layers) for layers in cluster.resolved.stages] == blocks_of(cluster)


def test_a_run_that_went_back_keeps_no_more(initial: list[weakref.ref[nn.Module]]) -> None:
    cluster = assembled(GPT, schedule="lockstep", checkpoint={"every": 2})

    cluster.kill(1)
    cluster.run()
    gc.collect()

    assert cluster.coordinator.metrics.incidents
    assert [part() for part in initial if part() is not None] == []


def test_a_head_of_ones_own_keeps_none_of_the_blocks(tmp_path: Path, initial: list[weakref.ref[nn.Module]]) -> None:
    (tmp_path / "own.py").write_text(OWN_HEAD)
    user_code.allow(str(tmp_path / "own.py"))

    cluster = assembled(VGG, head=f"{tmp_path / 'own.py'}:make")
    gc.collect()

    assert [part() for part in initial if part() is not None] == []
    assert len(cluster.workers) == 3
