"""A plan: layers, heads and stages of a run, with what they cost, before it is trained."""

import json
from typing import Any

import pytest

from decoupled.cli.plan import show
from decoupled.config import Run
from decoupled.runtime.plan import HeadPlan, Plan, plan_of
from decoupled.runtime.resolve import resolve
from tests.datasets import blobs
from tests.runtime.test_resolve import toy


def planned(**values: Any) -> Plan:
    """Of a network of widths 6, 32, 32 and 3."""
    return plan_of(resolve(Run(**{"hidden": (32, 32), "batch": 20} | values), blobs()))


def test_a_plan_counts_a_fully_connected_networks_products() -> None:
    plan = planned()

    assert plan.unit == "multiplications"
    assert plan.samples == 20
    assert [layer.gives for layer in plan.layers] == ["float32 N x 32", "float32 N x 32", "float32 N x 3"]
    assert [layer.weights for layer in plan.layers] == [6 * 32 + 64, 32 * 32 + 64, 32 * 3 + 3]
    assert [layer.forward for layer in plan.layers] == [20 * 6 * 32, 20 * 32 * 32, 20 * 32 * 3]
    assert all(layer.backward == 2 * layer.forward for layer in plan.layers)
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1)


def test_a_plan_says_what_travels_for_a_sample() -> None:
    plan = planned()

    target = 8  # an int64 class
    assert [stage.sends_bytes for stage in plan.stages] == [32 * 4 + target, 32 * 4 + target, 0]
    assert [stage.returned_bytes for stage in plan.stages] == [32 * 4, 32 * 4, 0]
    assert [stage.returned_bytes for stage in planned(link={"wire": "bfloat16"}).stages] == [32 * 2, 32 * 2, 0]


def test_only_schedules_with_heads_have_any_in_their_plan() -> None:
    heads = [stage.head for stage in planned().stages]

    assert heads[-1] is None
    assert all(isinstance(head, HeadPlan) and head.name == "readout" and head.share for head in heads[:-1])
    assert not any(stage.head for stage in planned(schedule="lockstep").stages)


@pytest.mark.parametrize(("values", "stages"), [({"workers": 2}, [(0,), (1, 2)]), ({"schedule": "single"}, [(0, 1, 2)])])
def test_a_plan_has_the_cut_that_the_run_will_have(values: dict[str, Any], stages: list[tuple[int, ...]]) -> None:
    plan = planned(**values)

    assert [stage.layers for stage in plan.stages] == stages
    assert [layer.stage for layer in plan.layers] == [at for at, layers in enumerate(stages) for _ in layers]


def test_a_model_that_counts_nothing_is_measured() -> None:
    plan = plan_of(toy(batch=16))

    assert plan.unit == "ms"
    assert all(layer.forward > 0 and layer.backward > 0 for layer in plan.layers)
    assert [head.ms is not None and head.share is None for stage in plan.stages if (head := stage.head)] == [True] * 3
    assert plan.is_usual


@pytest.mark.parametrize("values", [{}, {"schedule": "lockstep", "workers": 2}, {"schedule": "single"}])
def test_a_plan_is_shown_and_written(values: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(**values)

    show(plan)
    shown = capsys.readouterr().out

    assert json.loads(json.dumps(plan.to_json()))["layers"][1]["name"] == "dense, norm, relu"
    assert "dense, norm, relu" in shown
    assert ("readout" in shown) is (not values)
    assert max(map(len, shown.splitlines())) <= 110
