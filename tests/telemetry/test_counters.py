"""Counters travel whole, and know how much memory their process has used."""

import ctypes
from dataclasses import fields

import msgpack
import pytest

from decoupled.telemetry.counters import ADDED, Counters, Mean, Recent, peak_rss_mb


def used() -> Counters:
    """Counters none of which is as it began."""
    counters = Counters(
        3,
        samples=640,
        updates=10,
        refined=9,
        evicted=1,
        dropped=7,
        unmatched_gradients=2,
        stash=4,
        bytes_sent=12_345_678_901,
        bytes_received=6,
    )
    for average in (counters.staleness, counters.head_cosine, counters.head_norm_ratio, counters.head_relative_error):
        average.add(0.25)
    counters.loss.add(1.5)
    counters.accuracy.add(0.75)
    return counters


@pytest.mark.parametrize("counters", [Counters(0), used()], ids=["new", "used"])
def test_counters_come_back_from_a_message(counters: Counters) -> None:
    travelled = msgpack.unpackb(msgpack.packb(counters.to_body()))

    assert Counters.from_body(travelled) == counters


@pytest.mark.parametrize("name", [field.name for field in fields(Counters) if field.name not in ADDED])
def test_a_body_that_lacks_a_counter_is_refused(name: str) -> None:
    body = used().to_body()
    del body[name]

    with pytest.raises(KeyError, match=name):
        Counters.from_body(body)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": {"unknown": 1}},
        {"loss": {"value": "low"}},
        {"loss": None},
        {"samples": "many"},
        {"samples": 1.5},
        {"staleness": 3},
        {"staleness": {"maximum": float("nan")}},
        {"peak_rss_mb": float("inf")},
    ],
)
def test_a_body_of_the_wrong_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Counters.from_body(used().to_body() | change)


def test_a_loss_that_went_to_infinity_still_travels() -> None:
    assert Counters.from_body(used().to_body() | {"loss": {"value": float("inf")}}).loss.value == float("inf")


def test_a_mean_and_its_maximum() -> None:
    mean = Mean()
    empty = mean.mean
    for value in (1.0, 5.0, 3.0):
        mean.add(value)

    assert empty == 0
    assert (mean.mean, mean.maximum) == (3.0, 5.0)


def test_a_recent_average_is_the_plain_one_at_first_and_then_follows_the_last() -> None:
    recent = Recent(horizon=4)
    before = recent.value
    recent.add(10.0)
    first = recent.value
    recent.add(6.0)
    second = recent.value
    for _ in range(100):
        recent.add(2.0)

    assert before is None
    assert first == 10.0
    assert second == 8.0
    assert recent.value == pytest.approx(2.0)


def test_peak_memory_rises_with_what_is_touched_and_stays_up() -> None:
    before = peak_rss_mb()
    block = ctypes.create_string_buffer(b"x" * 64_000_000, 64_000_000)
    during = peak_rss_mb()
    del block

    assert before > 0
    assert during >= max(before, 64)
    assert peak_rss_mb() >= during


def test_a_report_holds_the_peak_memory() -> None:
    assert Counters(0).to_body()["peak_rss_mb"] > 0
