"""What a late gradient costs, by the weights that it goes back with: python -m tests.pytorch.late_weights

Of a stage of two convolutions (32 channels, 32 x 32 pixels) and of one block of a transformer (width 128, 64 tokens), for a
microbatch of 32: processor time of a forward and a backward pass, without an update in between and with one (whose gradients
are none), and the bytes that are copied.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from decoupled.nn.stage import Weights
from decoupled.pytorch.models.gpt import Block
from decoupled.pytorch.models.vgg import convolution
from decoupled.pytorch.stage import TorchStage
from decoupled.tensors import Array, TensorSpec
from tests.pytorch.stages import a_stage, floats

ROWS, TIMES = 32, 15
STAGES: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "two convolutions": (lambda: [convolution(32, 32, pool=False), convolution(32, 32, pool=True)], (32, 32, 32)),
    "one block of gpt": (lambda: [Block(128, 4, 0.0)], (64, 128)),
}


def milliseconds(stage: TorchStage, x: Array, updates: int) -> float:
    """The median processor time of a pass forward and back, and of the updates in between."""
    taken = []
    for _ in range(TIMES):
        begun = time.thread_time()
        passed = stage.forward((x,))
        for _ in range(updates):
            stage.step(ROWS)
        stage.backward(passed, tuple(np.ones_like(output) for output in passed.outputs), want_dx=True)
        taken.append(time.thread_time() - begun)
        stage.step(ROWS)
    return float(np.median(taken) * 1e3)


def copied(stage: TorchStage, x: Array) -> int:
    """Bytes that a held pass has copied."""
    held = stage.forward((x,))
    version = stage._kept._newest
    stage.step(ROWS)
    kept = version() if version is not None else None
    assert held is not None
    return 0 if kept is None else sum(copy.nbytes() for copy in kept.copies.values())


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'':18}{'late weights':14}{'in time, ms':>12}{'late, ms':>12}{'copied, KB':>12}{'parameters, KB':>16}")
    for name, (modules, shape) in STAGES.items():
        x = floats(0, ROWS, *shape)
        for weights in Weights:
            stage = a_stage(*modules(), inputs=TensorSpec.of("float32", *shape), weights=weights)
            times = [milliseconds(stage, x, updates) for updates in (0, 1)]
            whole = sum(p.numel() * 4 for p in stage._trained)
            print(f"{name:18}{weights.value:14}{times[0]:12.1f}{times[1]:12.1f}{copied(stage, x) / 1e3:12.1f}{whole / 1e3:16.1f}")


if __name__ == "__main__":
    main()
