"""Weights, and all that a run needs to go on, as safetensors files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import safetensors
import safetensors.numpy

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.common.shown import message_of, shown

# The types that NumPy has, by safetensors's names. bfloat16 is the upper half of a float32, and is read as that.
_NUMPY = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
_BFLOAT16 = "BF16"


def save(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Writes arrays by name, and metadata (anything that JSON holds) under one key of the file's header."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = safetensors.numpy.save(contiguous, {"ttfs_cupy": json.dumps(metadata)})
    write_atomically(path, content)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, in the file's order, and the metadata ({} if another program wrote the file).

    Raises UserError for a file that is missing, unreadable or not safetensors, for a type of numbers that NumPy has
    not (bfloat16 becomes float32), and for NaN.
    """
    try:
        open_file(path).close()
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: _array(file, name, path) for name in file.keys()}  # noqa: SIM118 (not a dict)
            written = (file.metadata() or {}).get("ttfs_cupy", "{}")
    except OSError as error:
        raise UserError(f"weights '{path}' cannot be read: {reason(error)}") from None
    except safetensors.SafetensorError as error:
        raise UserError(
            f"weights '{path}' cannot be read: it is not a whole safetensors file ({message_of(error)})"
        ) from None
    except MemoryError:
        raise UserError(f"weights '{path}' do not fit into memory") from None
    return arrays, _metadata(path, written)


def check_floats(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """UserError unless all of the file's arrays are floats, as weights are."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise UserError(f"the weights {shown(name)} in '{path}' are {array.dtype}: they must be float32, or floats")


def is_whole(value: object, most: int = 2**53) -> TypeGuard[int]:
    """Whether that of a file's metadata is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def is_number(value: object, low: float, high: float) -> TypeGuard[float]:
    """Whether that of a file's metadata is a number from low to high."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _array(file: Any, name: str, path: Path) -> np.ndarray:
    kind = file.get_slice(name).get_dtype()
    if kind == _BFLOAT16:
        array = _from_bfloat16(path, name)
    elif kind in _NUMPY:
        array = file.get_tensor(name)
    else:
        raise UserError(
            f"weights '{path}' cannot be read: {shown(name)} is in {kind}; save it as float32, float16 or bfloat16"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise UserError(f"weights '{path}' cannot be used: {shown(name)} holds NaN, which no training leaves")
    return array


def _from_bfloat16(path: Path, name: str) -> np.ndarray:
    """As float32, which has the same exponents: not a bit is lost."""
    stored = dict(safetensors.deserialize(path.read_bytes()))[name]
    upper = np.frombuffer(stored["data"], "<u2").astype(np.uint32)
    return (upper << np.uint32(16)).view(np.float32).reshape(stored["shape"])


def _metadata(path: Path, written: str) -> dict[str, Any]:
    try:
        metadata = json.loads(written)
    except ValueError as error:
        raise UserError(f"weights '{path}' cannot be read: its metadata are not JSON ({message_of(error)})") from None
    except RecursionError:
        raise UserError(f"weights '{path}' cannot be read: its metadata are nested too deeply") from None
    if not isinstance(metadata, dict):
        raise UserError(f"weights '{path}' cannot be read: its metadata are {shown(metadata)}, not keys and values")
    return metadata
