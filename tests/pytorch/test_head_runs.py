"""Heads of PyTorch's models in whole runs: what the last stage publishes, and a head of one's own among processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from decoupled import Run, train, user_code
from decoupled.data.text import Text
from tests.cluster import Cluster
from tests.datasets import blobs
from tests.pytorch.test_own_heads import OWN

pytestmark = pytest.mark.slow

SMALL = {"model": {"width": 16, "depth": 3, "heads": 2}}


@pytest.fixture
def text(tmp_path: Path) -> Text:
    """Words in a random order."""
    words = np.random.default_rng(0).choice(["one", "three", "seven", "eight"], 800)
    (tmp_path / "words.txt").write_text(" ".join(words))
    return Text(tmp_path / "words.txt", context=16, test=20)


def run(**values: Any) -> Run:
    return Run(**{"model": "gpt", "epochs": 6, "batch": 16, "lr": 3e-3, "workers": 3, "args": SMALL} | values)


@pytest.mark.parametrize("options", [{}, {"blocks": 0}, {"blocks": 0, "width": 0}])
def test_a_text_is_learnt_by_heads_that_read_by_the_last_stages_output_layer(text: Text, options: dict[str, int]) -> None:
    cluster = Cluster(run(args=SMALL | {"head": options}, heads={"publish_every": 1}), text)

    cluster.run()

    report, sessions = cluster.coordinator.report(), [worker._session for worker in cluster.alive]
    states = {session._place.stage: session._executor.stage.state_dict() for session in sessions if session is not None}
    layer = report.network.arrays["4.1.weight"]
    for stage in (0, 1):
        np.testing.assert_array_equal(states[stage]["head.module.output.weight"], layer)
    assert all(detail.head_cosine is not None and detail.head_cosine > 0.2 for detail in report.workers_detail[:-1])
    assert report.test_loss < 2.0, "nats a character; knowing how often each comes gives 2.3"


def test_a_head_of_ones_own_among_processes(tmp_path: Path) -> None:
    (tmp_path / "my_head.py").write_text(OWN)
    data = blobs(train=200, test=40)
    arrays = {"x_train": data.x_train, "y_train": data.y_train, "x_test": data.x_test, "y_test": data.y_test}
    user_code.allow(str(tmp_path / "my_head.py"))
    own = Run(model="torch-mlp", data=arrays, hidden=(16, 16), head=f"{tmp_path}/my_head.py:reading", batch=20, epochs=10)
    report = train(own)

    assert report.workers == 3
    assert report.test_accuracy is not None
    assert report.test_accuracy > 0.8
