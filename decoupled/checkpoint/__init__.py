"""Checkpoints: named arrays in files, and the store of a run's checkpoints.

May import: numpy, safetensors, files.
Must not know: what an array is for, or who trains. A file is written whole or not at all, and is checked when it is read.
"""

from decoupled.checkpoint.files import load_arrays, save_arrays, write_whole
from decoupled.checkpoint.store import Checkpoint, StageState, Store

__all__ = ["Checkpoint", "StageState", "Store", "load_arrays", "save_arrays", "write_whole"]
