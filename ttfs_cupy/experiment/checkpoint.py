"""Weights, and all that a run needs to go on, as safetensors files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import write_atomically


def save(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Writes arrays by name, and metadata (anything that JSON holds) under one key of the file's header."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = safetensors.numpy.save(contiguous, {"ttfs_cupy": json.dumps(metadata)})
    write_atomically(path, content)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, in the file's order, and the metadata ({} if another program wrote the file).

    Raises UserError for a file that is missing, unreadable or not safetensors.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = json.loads((file.metadata() or {}).get("ttfs_cupy", "{}"))
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError) as error:
        reason = "no such file" if not path.exists() else f"it is not a whole safetensors file ({error})"
        raise UserError(f"weights '{path}' cannot be read: {reason}") from None
    return arrays, metadata
