"""single: the whole network in one process."""

from typing import Any

import torch
from torch import nn

from decoupled.bench.torch_peer.job import Job, Trained, drive
from decoupled.bench.torch_peer.model import LOSS_FUNCTIONS, Inputs, Optimiser, arrays_of, network, targets_of
from decoupled.data import batches
from decoupled.data.dataset import Array
from decoupled.nn.losses import LOSSES
from decoupled.runtime.resolve import ResolvedRun


def train_single(job: Job, resolved: ResolvedRun) -> Trained:
    """Trains the whole network in this process."""
    torch.set_num_threads(job.threads)
    model = network(resolved, tuple(range(resolved.architecture.layers)))
    optimiser, loss = Optimiser(job, resolved, model), LOSS_FUNCTIONS[resolved.architecture.loss]
    dataset = arrays_of(resolved)
    x, y = Inputs(resolved, dataset.x_train), targets_of(resolved, dataset.y_train)

    def learn(rows: Array) -> None:
        loss(model(x[rows]), y[torch.from_numpy(rows)]).backward()
        optimiser.step()

    return drive(job, resolved, learn, lambda: _evaluate(resolved, model))


def _evaluate(resolved: ResolvedRun, model: nn.Module) -> dict[str, Any]:
    """The whole test set's mean loss and accuracy; what counts as correct is the same as for our own network."""
    dataset, name = arrays_of(resolved), resolved.architecture.loss
    x, y = Inputs(resolved, dataset.x_test), targets_of(resolved, dataset.y_test)
    model.eval()
    with torch.inference_mode():
        outputs = torch.cat([model(x[rows]) for rows in batches.in_order(len(dataset.x_test), resolved.run.batch)])
    model.train()
    correct = LOSSES[name]().correct(outputs.numpy(), dataset.y_test)
    return {
        "loss": LOSS_FUNCTIONS[name](outputs, y).item(),
        "accuracy": None if correct is None else correct / len(outputs),
    }
