"""Sizes: what a run's links must be able to carry is known before it begins."""

from dataclasses import replace

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.data.dataset import Dataset
from decoupled.errors import UsageError
from decoupled.runtime.assignment import assign, make_stage
from decoupled.runtime.chunks import announced_bytes, into_chunks
from decoupled.runtime.executor import StageExecutor
from decoupled.runtime.resolve import ResolvedRun, resolve
from decoupled.runtime.sizes import check_messages_fit, message_bytes_needed, state_bytes_max
from decoupled.telemetry.counters import Counters
from decoupled.wire.codec import encode
from decoupled.wire.messages import Kind, Message
from tests.datasets import blobs


def resolved(dataset: Dataset | None = None, **options: object) -> ResolvedRun:
    return resolve(Run(**{"hidden": (32, 64), "batch": 16, "link": {}} | options), dataset or blobs(train=60, test=20))


def size(message: Message) -> int:
    return sum(memoryview(frame).nbytes for frame in encode(message))


@pytest.mark.parametrize(("features", "hidden"), [(900, (8,)), (6, (700, 30))], ids=["wide inputs", "wide layers"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_needed_holds_the_largest_of_the_runs_messages(features: int, hidden: tuple[int, ...], dtype: str) -> None:
    dataset = blobs(train=60, test=20, features=features)
    run = resolved(dataset, hidden=hidden, network={"dtype": dtype, "batch_norm": False})
    needed = message_bytes_needed(run)
    activations = [np.zeros((16, width), dtype) for width in hidden]

    sent = [Message(Kind.ACTIVATION, tensors=(x, dataset.y_train[:16])) for x in (dataset.x_train[:16], *activations)]
    sent += [assign(run, stage, "a" * 16, "tcp://x").to_message() for stage in range(len(run.stages))]

    assert max(map(size, sent)) <= needed
    assert needed < 2 * max(map(size, sent)) + (1 << 17), "and asks for little more"


def test_a_limit_that_is_too_small_is_said_with_what_is_needed() -> None:
    run = resolved()
    needed = message_bytes_needed(run)
    too_small = replace(run, run=run.run.model_copy(update={"link": run.run.link.model_copy(update={"message_bytes_max": 2000})}))

    check_messages_fit(run)
    with pytest.raises(UsageError, match=rf"message_bytes_max is 2,000, .* need {needed:,}\."):
        check_messages_fit(too_small)


@pytest.mark.parametrize("head", ["readout", "linear", "linear-label", "mlp-label"])
@pytest.mark.parametrize("hidden", [(4, 4), (300, 5)])
def test_no_stages_own_state_is_beyond_the_bound(head: str, hidden: tuple[int, ...]) -> None:
    run = resolved(hidden=hidden, head=head)
    for stage in range(len(run.stages)):
        assignment = assign(run, stage)
        executor = StageExecutor(make_stage(assignment), assignment.place, Counters(stage))
        for m in range(0, 2 * run.steps_total, 2):
            executor.trained.add(m)
        chunk, *_ = into_chunks(Kind.SNAPSHOT, executor.state(), {}, message_bytes_max=1 << 16)

        assert announced_bytes(chunk) <= state_bytes_max(run, stage)
