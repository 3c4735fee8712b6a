"""Small runs in a simulated cluster, and the account that each must give."""

from typing import Any

from decoupled.config import Run
from decoupled.runtime.report import Report
from decoupled.transport.simulated import Faults
from tests.cluster import Cluster, MemoryStore
from tests.datasets import blobs

EPOCHS, BATCH, TRAIN, TEST = 3, 10, 120, 30
USUAL: dict[str, Any] = {"hidden": (8, 8), "epochs": EPOCHS, "batch": BATCH, "link": {"window": 4}}


def a_run(**values: Any) -> Run:
    return Run(**USUAL | values)


def cluster_of(run: Run, seed: int = 0, store: MemoryStore | None = None, **faults: Any) -> Cluster:
    return Cluster(run, blobs(train=TRAIN, test=TEST), seed, Faults(latency_s=0.01, **faults), store)


def run_until(cluster: Cluster, samples: int) -> None:
    """Lets the cluster work until its first stage has trained on so many samples."""
    for _ in range(100_000):
        counters = cluster.alive[0].counters if cluster.alive else None
        if counters is not None and counters.samples >= samples:
            return
        cluster.advance()
    raise AssertionError("the stage never got there")


def check_account(report: Report) -> None:
    """Every sample that was fed was trained on by each stage or is listed as missed by it, by numbers counted apart."""
    fed = EPOCHS * TRAIN
    for stage, detail in enumerate(report.workers_detail):
        assert detail.samples + detail.samples_missed == fed, f"stage {stage}"
        assert len(report.account.trained[stage]) + detail.missed == len(report.account.fed)
