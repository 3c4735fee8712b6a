"""Named arrays on disk: safetensors with a small header, written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from decoupled.errors import UsageError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it, so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]], about: dict[str, Any]) -> None:
    """Writes arrays and a description of them."""
    write_whole(path, pack_arrays(arrays, about))


def pack_arrays(arrays: dict[str, NDArray[Any]], about: dict[str, Any]) -> bytes:
    """The content of a file with these arrays."""
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # safetensors writes what lies in memory
    return save(whole, metadata={"about": json.dumps(about)})


def load_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and their description. Raises UsageError when the file is missing or is not one of ours."""
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["about"])
            if not isinstance(about, dict):
                raise ValueError("its description is not a map")
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.") from None
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a file of arrays that decoupled wrote: {error}.") from None
