"""The PyTorch backend: a row of `nn.Module` blocks as a model, cut into stages that autograd takes back.

May import: torch, nn, and what is below it.
Must not know: sockets, processes, schedules. Nothing above imports it unless a run needs PyTorch.
"""
