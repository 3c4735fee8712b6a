"""PyTorch computes in one thread in these tests: several of them would spin against each other on a busy machine."""

import contextlib

with contextlib.suppress(ModuleNotFoundError):
    import torch

    torch.set_num_threads(1)
