"""A resolved run: the choices that a run left open."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import user_code
from decoupled.config import Run
from decoupled.data.arrays import from_mapping
from decoupled.errors import UsageError
from decoupled.nn.partition import Work
from decoupled.runtime import resolve as module
from decoupled.runtime.resolve import ResolvedRun, resolve, work_of
from tests.datasets import blobs

TOY = Path(__file__).parents[1] / "toy_model.py"


def toy(layers: int = 6, **values: Any) -> ResolvedRun:
    """A model whose layers' times are measured."""
    user_code.allow(str(TOY))
    x, y = np.ones((40, 5, 3), np.float32), np.arange(40) % 3
    data = from_mapping({"x_train": x, "y_train": y, "x_test": x, "y_test": y}, "sequences")
    return resolve(Run(model=f"{TOY}:ToyModel", args={"model": {"layers": layers}}, **values), data)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """What was measured; each time another layer of six is slow."""
    measured, number = list[Work](), count()

    def measure(*_: object) -> Work:
        slow = next(number)
        ms = tuple(9.0 if layer == slow else 1.0 for layer in range(6))
        measured.append(Work("ms", ms, ms))
        return measured[-1]

    monkeypatch.setattr(module, "measure", measure)
    return measured


@pytest.mark.parametrize(
    ("schedule", "microbatches"), [("gpipe", 4), ("1f1b", 4), ("2bw", 4), ("lockstep", 1), ("dni", 1), ("single", 1)]
)
def test_a_batch_is_cut_into_four_where_a_schedule_can_use_it(schedule: str, microbatches: int) -> None:
    assert resolve(Run(schedule=schedule), blobs()).run.microbatches == microbatches


@pytest.mark.parametrize(("batch", "microbatches"), [(2, 1), (3, 1), (4, 2), (7, 3), (8, 4), (100, 4)])
def test_a_small_batch_is_cut_into_fewer_so_that_none_is_alone(batch: int, microbatches: int) -> None:
    assert resolve(Run(schedule="gpipe", batch=batch), blobs()).run.microbatches == microbatches


def test_a_cut_by_measured_times_is_written_into_the_run_and_made_once(times: list[Work]) -> None:
    first = toy(workers=2)
    again = toy(workers=2, stages=first.run.stages)

    assert first.stages == first.run.stages == ((0,), (1, 2, 3, 4, 5))
    assert again.stages == first.stages
    assert len(times) == 1
    assert work_of(first) is times[0]


def test_a_cut_by_counted_work_leaves_the_run_as_it_is() -> None:
    """It is the same every time, and folders of earlier versions name none."""
    resolved = resolve(Run(hidden=(64, 32, 16), workers=2), blobs())

    assert resolved.run.stages is None
    assert resolved.stages == ((0, 1), (2, 3))


@pytest.mark.parametrize(("layers", "stages"), [(3, 3), (4, 4), (6, 4)])
@pytest.mark.usefixtures("times")
def test_a_model_has_a_worker_for_each_layer_but_no_more_than_four_unasked(layers: int, stages: int) -> None:
    assert len(toy(layers).stages) == stages
    assert len(toy(layers, workers=layers).stages) == layers


@pytest.mark.parametrize("values", [{"workers": 6}, {"schedule": "single"}, {"stages": ((0, 1), (2, 3, 4, 5))}])
def test_nothing_is_measured_where_there_is_no_choice(values: dict[str, Any], times: list[Work]) -> None:
    toy(**values)

    assert not times


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stages": ((0, 1), (2, 3, 4, 5)), "workers": 3}, "There are 2 stages but 3 workers."),
        ({"stages": ((0, 1), (), (2, 3, 4, 5))}, "none may be empty"),
        ({"emulation": {"straggler": 4}}, "There is no stage 4 to slow down; the last of 4 is 3."),
        ({"faults": [{"kind": "kill", "stage": 5, "microbatch": 1}]}, "There is no stage 5 for the fault kill"),
    ],
)
def test_stages_that_are_not_there_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        toy(**values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"optimiser": {"clip": 1.0}}, r"mlp has no optimiser.clip; PyTorch's models have it"),
        ({"optimiser": {"weight_decay": 1.0}}, r"The optimiser adam has no option weight_decay"),
        ({"optimiser": {"name": "adamw"}}, r"mlp has no optimiser adamw"),
        ({"network": {"dtype": "bfloat16"}}, r"mlp computes in float32 or float64"),
        ({"runtime": {"device": "cuda:0"}}, r"mlp is computed on the CPU, not on cuda:0"),
    ],
)
def test_what_the_numpy_network_does_not_have_is_refused_with_who_has_it(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        resolve(Run(**values), blobs())
