"""Devices: on which of those that there are a stage is computed."""

import torch

from decoupled.errors import UsageError


def choose(devices: str, stage: int, cudas: int) -> str:
    """The device of a stage: one of those named, around. `auto` is every CUDA device of the `cudas` here, else the CPU.

    Raises UsageError when there is no such device.
    """
    if devices == "auto":
        devices = "cuda" if cudas else "cpu"
    named = [one for name in devices.split(",") for one in _all(name, cudas)]
    device = named[stage % len(named)]
    if device != "cpu" and int(device.removeprefix("cuda:")) >= cudas:
        here = f"cuda:0 to cuda:{cudas - 1}" if cudas > 1 else "cuda:0" if cudas else "no CUDA device"
        raise UsageError(f"There is no device {device} here, but {here}. Choose with --device, or leave it out.")
    return device


def _all(name: str, cudas: int) -> list[str]:
    """`cuda` alone stands for every one."""
    return [f"cuda:{index}" for index in range(max(cudas, 1))] if name == "cuda" else [name]


def device_of(devices: str, stage: int) -> torch.device:
    """The device of a stage on this machine. Raises UsageError when it is not there."""
    return torch.device(choose(devices, stage, torch.cuda.device_count() if torch.cuda.is_available() else 0))


def require(devices: str, stages: int) -> None:
    """Raises UsageError when a stage's device is not on this machine."""
    for stage in range(stages):
        device_of(devices, stage)
