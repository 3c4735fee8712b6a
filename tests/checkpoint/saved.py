"""Checkpoints to save, each with its microbatch in every part, and stores that must have nothing to complain about."""

import os
from pathlib import Path

import numpy as np

from decoupled.checkpoint import Checkpoint, Store
from tests.conftest import silent

STAGES = 2
FILES = ("manifest.json", "stage0.safetensors", "stage1.safetensors")
OLD, NEW = "0000000010", "0000000020"  # those in `folder`


def checkpoint(microbatch: int, size: int = 3, **about: object) -> Checkpoint:
    arrays = [{"weight": np.full(size, 10.0 * microbatch + stage), "count": np.array(microbatch)} for stage in range(STAGES)]
    return Checkpoint(microbatch, arrays, [{"stage": stage} for stage in range(STAGES)], {"microbatch": microbatch} | about)


def is_as_saved(found: Checkpoint | None, expected: Checkpoint) -> bool:
    """Whether every part of a checkpoint came back."""
    return (
        found is not None
        and (found.microbatch, found.about, found.about_stages) == (expected.microbatch, expected.about, expected.about_stages)
        and len(found.arrays) == len(expected.arrays)
        and all(
            mine.keys() == theirs.keys()
            and all(mine[name].dtype == theirs[name].dtype and np.array_equal(mine[name], theirs[name]) for name in mine)
            for mine, theirs in zip(found.arrays, expected.arrays, strict=True)
        )
    )


def saved(folder: Path, *microbatches: int, keep: int = 3) -> None:
    """Saves checkpoints without a hitch."""
    store = Store(folder, keep, silent)
    for microbatch in microbatches:
        store.save(checkpoint(microbatch))
    store.finish()


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))
