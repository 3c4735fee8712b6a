"""The room for what outlives a process: named arrays in files, and the checkpoints of a run.

May know: files, and the names and shapes of arrays.
Must never know: what an array is for, or who trains. A file is written whole or not at all, and is read with suspicion.
"""

from decoupled.checkpoint.files import load_arrays, save_arrays, write_whole
from decoupled.checkpoint.store import Checkpoint, StageState, Store

__all__ = ["Checkpoint", "StageState", "Store", "load_arrays", "save_arrays", "write_whole"]
