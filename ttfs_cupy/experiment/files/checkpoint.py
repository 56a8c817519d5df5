"""Weights, and all that a run needs to go on, as safetensors files."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.experiment.files.run_directory import DISPENSABLE

logger = logging.getLogger("ttfs_cupy")

# The types that NumPy has, by safetensors's names. bfloat16 is the upper half of a float32, and is read as that.
_NUMPY = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
_BFLOAT16 = "BF16"
# Where in a file's metadata this package's are: of several keys the library changes the order from run to run.
_KEY = "ttfs_cupy"
# Among ours, that of all that the file holds
_DIGEST = "sha256"


def save(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any], previous: Path | None = None
) -> None:
    """Writes arrays by name, and metadata (anything that JSON holds) under one key of the file's header.

    previous: what the file that was there is called from now on. Raises UserError, leaving all as it was.
    """
    start = time.perf_counter()
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    signed = {**metadata, _DIGEST: digest_of(contiguous, metadata)}
    content = safetensors.numpy.save(contiguous, {_KEY: json.dumps(signed)})
    write_atomically(path, content, previous=previous)
    size, seconds = len(content) / 1e6, time.perf_counter() - start
    logger.debug("%s is written: %.1f MB in %.2f s", path, size, seconds, extra=DISPENSABLE)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, in the file's order, and the metadata ({} if another program wrote the file).

    Raises UserError for a file that is missing, unreadable or not safetensors, for one of ours that is not what was
    written, for a type of numbers that NumPy has not (bfloat16 becomes float32), and for NaN.
    """
    with _opened(path) as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (not a dict)
        for name, kind in kinds.items():
            if kind not in (*_NUMPY, _BFLOAT16):
                raise UserError(
                    f"weights '{path}' cannot be read: {shown(name)} is in {kind}; "
                    "save it as float32, float16 or bfloat16"
                )
        # the library makes NumPy arrays of whatever NumPy has; of the rest it gives all bytes of the file at once
        raw = dict(safetensors.deserialize(path.read_bytes())) if _BFLOAT16 in kinds.values() else {}
        arrays = {
            name: _from_bfloat16(raw.pop(name)) if kind == _BFLOAT16 else file.get_tensor(name)
            for name, kind in kinds.items()
        }
        own = _own(path, file.metadata())
    digest = own.pop(_DIGEST, None)
    if digest is not None and digest != digest_of(arrays, own):
        raise UserError(f"weights '{path}' cannot be used: the file is damaged, its content is not what was written")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise UserError(f"weights '{path}' cannot be used: {shown(name)} holds NaN, which no training leaves")
    return arrays, own


def bfloat16_names(path: Path) -> set[str]:
    """The arrays that the file holds as bfloat16, which `load` makes float32 of. Raises UserError as it does."""
    with _opened(path) as file:
        return {name for name in file.keys() if file.get_slice(name).get_dtype() == _BFLOAT16}  # noqa: SIM118


def metadata(path: Path) -> dict[str, Any]:
    """Those of `load`, without reading an array. Raises UserError as it does, but for what the arrays are."""
    with _opened(path) as file:
        written = file.metadata()
    return _own(path, written)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """safetensors's file. Raises UserError, also for what is raised in the block."""
    try:
        open_file(path).close()
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except OSError as error:
        raise UserError(f"weights '{path}' cannot be read: {reason(error)}") from None
    except safetensors.SafetensorError as error:
        raise UserError(
            f"weights '{path}' cannot be read: it is not a whole safetensors file ({message_of(error)})"
        ) from None
    except MemoryError:
        raise UserError(f"weights '{path}' do not fit into memory") from None


def digest_of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """SHA-256 of all that a file of ours holds; its arrays by name, since safetensors keeps them in an order of its
    own."""
    digest = hashlib.sha256(json.dumps(metadata).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def check_floats(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """UserError unless all of the file's arrays are floats, as weights are."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise UserError(f"the weights {shown(name)} in '{path}' are {array.dtype}: they must be float32, or floats")


def _from_bfloat16(stored: Mapping[str, Any]) -> np.ndarray:
    """As float32, which has the same exponents: not a bit is lost."""
    upper = np.frombuffer(stored["data"], "<u2").astype(np.uint32)
    return (upper << np.uint32(16)).view(np.float32).reshape(stored["shape"])


def _own(path: Path, written: Mapping[str, str] | None) -> dict[str, Any]:
    """What `save` was given."""
    return keys_and_values((written or {}).get(_KEY, "{}"), f"weights '{path}' cannot be read: its metadata are")
