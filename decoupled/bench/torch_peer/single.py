"""single: the whole network in one process."""

from typing import Any

import torch
from torch import nn

from decoupled.bench.torch_peer.job import Job, Trained, drive
from decoupled.bench.torch_peer.network import HOST, Optimiser, model_of, network
from decoupled.data.source import Batch
from decoupled.pytorch.arrays import to_tensor
from decoupled.pytorch.losses import correct, summed
from decoupled.runtime.resolve import ResolvedRun


def train_single(job: Job, resolved: ResolvedRun) -> Trained:
    """Trains the whole network in this process."""
    torch.set_num_threads(job.threads)
    loss, model = model_of(resolved).loss, network(resolved, range(resolved.model.layers))
    optimiser = Optimiser(job, resolved, model)

    def learn(batch: Batch) -> None:
        x, y = (to_tensor(array, HOST) for array in batch)
        (summed(loss, model(x), y) / len(x)).backward()
        optimiser.step()

    return drive(job, resolved, learn, lambda: _evaluate(resolved, model))


def _evaluate(resolved: ResolvedRun, model: nn.Module) -> dict[str, Any]:
    """The whole test set's mean loss and accuracy; what counts as correct is the same as for our own network."""
    loss, task, source = model_of(resolved).loss, resolved.dataset.targets.task, resolved.dataset
    found = list[tuple[float, int | None, int, int]]()
    model.eval()
    with torch.inference_mode():
        for inputs, targets in source.test_batches(resolved.run.batch, 0):
            x, y = to_tensor(resolved.feed.prepare(inputs), HOST), to_tensor(targets, HOST)
            outputs = model(x)
            found.append((float(summed(loss, outputs, y)), *correct(task, outputs, y), len(x)))
    model.train()
    losses, right, answers, samples = zip(*found, strict=True)
    return {
        "loss": sum(losses) / sum(samples),
        "accuracy": None if None in right else sum(right) / sum(answers),
    }
