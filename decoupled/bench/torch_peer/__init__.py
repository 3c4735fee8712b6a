"""The same job in PyTorch: `python -m decoupled.bench.torch_peer`, a child process of the benchmark.

May know: torch, and of this package what decides a run: its data, batches, initial weights, loss and learning rate.
Must never know: the workers, the wire or the schedules, which it is measured against.
"""
