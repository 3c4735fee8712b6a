"""The form in which arrays travel: narrower types come back near to what they were, and hostile ones are refused."""

from typing import Any

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.runtime.report import Report
from decoupled.runtime.wire_form import Narrow, WireForm
from decoupled.tensors import ArraySpec, TensorSpec
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster
from tests.datasets import blobs

FLOWING = TensorSpec((ArraySpec("float32", (3, None)), ArraySpec("int64", (2,)), ArraySpec("float64", ())))
NARROW: list[tuple[Narrow, float]] = [("float32", 1e-7), ("bfloat16", 2**-8), ("float16", 2**-10), ("int8", 1 / 127)]


def arrays(rows: int = 5) -> tuple[np.ndarray[Any, Any], ...]:
    rng = np.random.default_rng(0)
    h = rng.standard_normal((rows, 3, 4)).astype(np.float32) * np.logspace(-3, 3, rows, dtype=np.float32)[:, None, None]
    return h, rng.integers(0, 9, (rows, 2)), rng.standard_normal(rows)


@pytest.mark.parametrize(("narrow", "error"), NARROW)
def test_what_comes_is_near_to_what_was_sent_for_each_sample(narrow: Narrow, error: float) -> None:
    form, given = WireForm(FLOWING, narrow), arrays()

    travelled = form.pack(given)
    found = form.unpack(travelled)

    form.spec.check(travelled)
    FLOWING.check(found)
    assert (found[1] == given[1]).all()
    for mine, its in zip(found[::2], given[::2], strict=True):
        largest = np.abs(its.reshape(5, -1)).max(axis=1)
        assert (np.abs(mine - its).reshape(5, -1).max(axis=1) <= error * largest).all()


@pytest.mark.parametrize(("narrow", "share"), [("bfloat16", 0.5), ("float16", 0.5), ("int8", 0.26)])
def test_a_narrow_form_has_so_many_of_the_bytes(narrow: Narrow, share: float) -> None:
    h = (np.ones((4, 1000), np.float32),)

    assert sum(array.nbytes for array in WireForm(TensorSpec.of("float32", 1000), narrow).pack(h)) <= share * h[0].nbytes


def test_without_a_narrow_form_the_arrays_are_the_same() -> None:
    given = arrays()
    form = WireForm(FLOWING, None)

    assert form.spec == FLOWING
    assert all(mine is its for mine, its in zip(form.unpack(form.pack(given)), given, strict=True))


def test_a_sample_of_zeros_stays_zero() -> None:
    form = WireForm(TensorSpec.of("float32", 3), "int8")

    assert (form.unpack(form.pack((np.zeros((2, 3), np.float32),)))[0] == 0).all()


@pytest.mark.parametrize("change", ["a type", "a shape", "one more", "rows"])
def test_what_is_not_in_the_form_is_refused(change: str) -> None:
    form = WireForm(TensorSpec.of("float32", 3), "int8")
    values, scale = form.pack((np.ones((2, 3), np.float32),))
    changed = {
        "a type": (values.astype(np.float32), scale),
        "a shape": (values[:, :2], scale),
        "one more": (values, scale, scale),
        "rows": (values, scale[:1]),
    }

    with pytest.raises(ValueError, match="was to come"):
        form.unpack(changed[change])


def trained(**values: object) -> tuple[Report, int]:
    """A run in a simulated cluster, and how many bytes of activations it sent between workers."""
    run = Run(**{"hidden": (16, 16, 16), "epochs": 8, "batch": 20} | values)
    cluster, sent = Cluster(run, blobs()), 0
    carry = cluster.network.carry

    def counted(sender: str, peer: str, message: Message) -> None:
        nonlocal sent
        if message.kind is Kind.ACTIVATION and sender != "memory://coordinator":
            sent += message.tensors[0].nbytes
        carry(sender, peer, message)

    cluster.network.carry = counted  # type: ignore[method-assign]
    cluster.run()
    return cluster.coordinator.report(), sent


@pytest.mark.parametrize("schedule", ["dni", "lockstep", "async1f1b"])
def test_a_run_learns_over_narrow_links(schedule: str) -> None:
    _, whole = trained(schedule=schedule)
    report, narrow = trained(schedule=schedule, link={"wire": "int8"}, epochs=12)

    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9
    assert narrow / 12 == pytest.approx(whole / 8 / 4, rel=0.02)


def test_a_wire_as_wide_as_the_network_changes_nothing() -> None:
    one, other = (trained(schedule="lockstep", link={"wire": wire})[0] for wire in (None, "float32"))

    assert all((other.network.arrays[name] == array).all() for name, array in one.network.arrays.items())
