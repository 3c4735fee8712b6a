"""Metrics for Prometheus, with their units in their names; made anew for each scrape."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "exposition"]

STATES = ("waiting", "training", "quiet", "interrupted", "finished")
WORKER_STATES = ("computing", "refining", "waiting", "restarting", "silent")
GAUGES = {
    "samples_per_s": ("samples_per_second", "Samples a second that the stage trains on, of late."),
    "busy": ("busy_ratio", "Share of the time in which the worker computes, of late."),
    "inbox": ("inbox_microbatches", "Microbatches that wait in the worker's inbox."),
    "stash": ("stash_microbatches", "Microbatches kept because their gradient is still out."),
    "staleness_mean": ("staleness_updates", "Updates between a forward pass and the use of its returned gradient, on average."),
    "truth": ("true_gradient_ratio", "Share of the backward passes from gradients that nobody guessed, of late."),
    "head_cosine": ("head_cosine", "Cosine of the synthetic with the returned gradient, of late."),
    "peak_rss_mb": ("peak_memory_bytes", "The most memory that the worker has had."),
}
COUNTERS = {
    "samples": ("samples", "Samples that the stage has trained on."),
    "updates": ("updates", "Updates of the stage's weights."),
    "refined": ("refinements", "Times the stage's head was fitted to a returned gradient."),
    "evicted": ("evicted_gradients", "Gradients given up on."),
    "unmatched_gradients": ("unmatched_gradients", "Gradients that nobody waited for."),
    "dropped": ("dropped_outputs", "Outputs that found no room downstream."),
    "bytes_sent": ("sent_bytes", "Bytes that the worker has sent."),
    "bytes_received": ("received_bytes", "Bytes that the worker has received."),
}
SCALE = {"peak_rss_mb": 1e6}


class _Run(Collector):
    def __init__(self, told: dict[str, Any], totals: list[dict[str, int]]) -> None:
        self._told, self._totals = told, totals

    def collect(self) -> Iterator[Metric]:
        yield _states("decoupled_run_state", "What the run is doing.", [({}, self._told["state"])], STATES)
        now = self._told["now"]
        if not now:
            return
        yield GaugeMetricFamily("decoupled_training_seconds", "Seconds of training.", now["seconds"])
        yield GaugeMetricFamily("decoupled_overlap_ratio", "Share of the time in which two workers compute.", now["overlap"])
        yield GaugeMetricFamily("decoupled_epoch", "The epoch being trained, from 1.", now["epoch"])
        for name in ("loss", "accuracy"):
            if now[name] is not None:
                yield GaugeMetricFamily(f"decoupled_training_{name}", f"The {name} on the last training batches.", now[name])
        for evaluation in self._told["evaluations"]:
            yield from _tested(evaluation)
        workers = now["workers"]
        yield _states("decoupled_worker_state", "What the worker is doing.", [_state(one) for one in workers], WORKER_STATES)
        for name, (called, what) in GAUGES.items():
            yield _by_stage(GaugeMetricFamily(f"decoupled_worker_{called}", what, labels=["stage"]), name, workers)
        for name, (called, what) in COUNTERS.items():
            family = CounterMetricFamily(f"decoupled_stage_{called}", what, labels=["stage"])
            for stage, totals in enumerate(self._totals):
                family.add_metric([str(stage)], totals[name])
            yield family


def _tested(evaluation: dict[str, Any]) -> Iterator[Metric]:
    """What the test set gave."""
    for name in ("loss", "accuracy", "r2", "mae"):
        if evaluation[name] is not None:
            yield GaugeMetricFamily(f"decoupled_test_{name}", f"The {name} on the test set.", evaluation[name])
    further = GaugeMetricFamily("decoupled_test_metric", "Perplexity, and metrics that the run names.", labels=["metric"])
    for name, value in evaluation["metrics"].items():
        if value is not None:
            further.add_metric([name], value)
    yield further


def _state(worker: dict[str, Any]) -> tuple[dict[str, str], str]:
    return {"stage": str(worker["stage"])}, worker["state"]


def _states(name: str, what: str, found: list[tuple[dict[str, str], str]], known: tuple[str, ...]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[*found[0][0], "state"])
    for labels, state in found:
        for one in known:
            family.add_metric([*labels.values(), one], float(one == state))
    return family


def _by_stage(family: GaugeMetricFamily, name: str, workers: list[dict[str, Any]]) -> Metric:
    for worker in workers:
        if worker[name] is not None:
            family.add_metric([str(worker["stage"])], worker[name] * SCALE.get(name, 1))
    return family


def exposition(told: dict[str, Any], totals: list[dict[str, int]]) -> bytes:
    """What /metrics says of a run (see Follower.now and RunHistory.totals)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Run(told, totals))
    return generate_latest(registry)
