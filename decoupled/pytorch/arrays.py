"""Arrays: between numpy on the host, which is what travels, and tensors on a stage's device."""

import numpy as np
import torch

from decoupled.tensors import Array

HOST = torch.device("cpu")
BFLOAT16 = np.dtype("bfloat16")  # which torch knows and numpy's own interface does not: both are read as whole numbers
NAMES = {getattr(torch, name): name for name in ("float32", "float64", "float16", "bfloat16", "uint8", "bool")}
NAMES |= {getattr(torch, name): name for name in ("int8", "int16", "int32", "int64")}
TYPES = {name: dtype for dtype, name in NAMES.items()}


def type_of(name: str) -> torch.dtype:
    """The tensor type of an array's. Raises ValueError where PyTorch has none."""
    if name not in TYPES:
        raise ValueError(f"PyTorch has no type for {name}")
    return TYPES[name]


def to_tensor(array: Array, device: torch.device) -> torch.Tensor:
    """A copy on the device, by pinned memory where that is another than the host's."""
    is_elsewhere = device.type != "cpu"
    host = torch.empty(array.shape, dtype=type_of(array.dtype.name), pin_memory=is_elsewhere and device.type == "cuda")
    if array.dtype == BFLOAT16:
        host.view(torch.int16).numpy()[...] = array.view(np.int16)
    else:
        host.numpy()[...] = array
    return host.to(device, non_blocking=True) if is_elsewhere else host


def to_array(tensor: torch.Tensor) -> Array:
    """The tensor's values on the host: the same memory where they are there already, pinned memory where they were on CUDA."""
    host = tensor.detach().contiguous()
    if host.device.type == "cuda":
        host = torch.empty(host.shape, dtype=host.dtype, pin_memory=True).copy_(host)
    host = host.cpu()
    if host.dtype is torch.bfloat16:
        return np.asarray(host.view(torch.int16).numpy().view(BFLOAT16))
    return np.asarray(host.numpy())


def wait_for(device: torch.device) -> None:
    """Returns when the device has done all that it was given, so that times are of work and not of its launch."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
