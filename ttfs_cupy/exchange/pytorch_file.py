"""PyTorch's files: a state_dict is read without running any of the code that a pickle may hold; one is written."""

import io
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.machine import address_space
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import one_line
from ttfs_cupy.exchange.weight_file import Stored, WeightFile, unwrapped

SUFFIXES = (".pt", ".pth")
# under what keys of a checkpoint programs keep the state_dict
_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
_PYTORCH = ("PyTorch, which reads and writes .pt files,", "pip install torch")
_ADVICE = "save a state_dict: torch.save(model.state_dict(), FILE)"


def read(path: Path) -> WeightFile:
    """The tensors of a state_dict, in its order; also of one in a dictionary under a usual key, and of a list of
    tensors, as T2FSNN's layers hold them.

    Raises UserError for a file that is missing, damaged, or holds something else, such as code, which does not run.
    """
    content = _loaded(path)
    for _ in range(2):
        wrapped = isinstance(content, Mapping) and [content[key] for key in _WRAPPERS if key in content]
        content = next((value for value in wrapped or [] if isinstance(value, (Mapping, list, tuple))), content)
    tensors = unwrapped(_tensors(content))
    if not tensors:
        raise UserError(f"weights '{path}' cannot be used: it holds no tensors by name; {_ADVICE}")
    return WeightFile(path, tensors, in_order=True)


def content(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A file of a state_dict of float32 tensors. Raises UserError where PyTorch is not installed."""
    torch = imported("torch", *_PYTORCH)
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, buffer)
    return buffer.getvalue()


def _loaded(path: Path) -> Any:
    try:
        opened = open_file(path)
    except OSError as error:
        raise UserError(f"weights '{path}' cannot be read: {reason(error)}") from None
    with opened as file, warnings.catch_warnings():
        torch = imported("torch", *_PYTORCH)
        warnings.simplefilter("ignore")
        try:
            return torch.load(file, weights_only=True, map_location="cpu")
        # what is damaged may raise anything, OSError for a place before the file's beginning
        except Exception as error:
            raise UserError(f"weights '{path}' {_trouble(error)}") from None


def _trouble(error: Exception) -> str:
    text = str(error)
    if isinstance(error, MemoryError) or address_space.is_behind(error) or "allocate memory" in text:
        return "do not fit into memory"
    if "TorchScript" in text:
        return f"are a TorchScript archive, which holds code: {_ADVICE}"
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and wanted:
        named = one_line(wanted[1], 60)
        return f"cannot be read: the file asks for code to be run ({named}), and none of it was; {_ADVICE}"
    return "cannot be read: it is not a whole file of torch.save"


def _tensors(content: Any) -> Iterator[Stored]:
    """What else is in a dictionary, such as the number of an epoch, is none of ours."""
    torch = imported("torch", *_PYTORCH)
    items: Any = enumerate(content) if isinstance(content, (list, tuple)) else ()
    items = content.items() if isinstance(content, Mapping) else items
    for name, tensor in items:
        if isinstance(tensor, torch.Tensor):
            yield Stored(str(name), _shape(tensor), _kind(tensor), lambda tensor=tensor: _values(tensor))  # type: ignore[misc]


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.is_nested else tuple(tensor.shape)


def _kind(tensor: Any) -> str:
    """The name of its type, with what it is besides if it is no plain array."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_nested:
        return f"nested {kind}"
    if tensor.device.type == "meta":
        return f"{kind} without values (meta)"
    return kind if str(tensor.layout) == "torch.strided" else f"sparse {kind}"


def _values(tensor: Any) -> np.ndarray:
    # NumPy knows no view that negates or conjugates what it is of, and no bfloat16
    plain = tensor.detach().resolve_conj().resolve_neg()
    values: np.ndarray = (plain.float() if _kind(tensor) == "bfloat16" else plain).numpy()
    return values
