"""What a file of weights holds: tensors with names, shapes and types, each read when it is asked for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

# float64 is rounded; of the others not a bit is lost
FLOATS = ("float32", "float16", "bfloat16", "float64")
# What wrappers of a module put before all of its names: DataParallel, torch.compile, and Lightning or a class of one's
# own, whose one attribute is the network.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


@dataclass(frozen=True)
class Stored:
    """A tensor of a file. kind: its type's name, such as bfloat16. values: reads it, as floats of NumPy's."""

    name: str
    shape: tuple[int, ...]
    kind: str
    values: Callable[[], np.ndarray]

    def __str__(self) -> str:
        return f"{shown(self.name)} {self.shape}"


@dataclass(frozen=True)
class WeightFile:
    """in_order: whether its tensors stand in the order of their layers. Those of safetensors are sorted."""

    path: Path
    tensors: tuple[Stored, ...]
    in_order: bool

    def float32(self, tensor: Stored) -> np.ndarray:
        """Raises UserError, which names the tensor, unless it is of finite floats."""
        if tensor.kind not in FLOATS:
            raise UserError(
                f"the weights {shown(tensor.name)} in '{self.path}' are {tensor.kind}: they must be float32, float16, "
                "bfloat16 or float64"
            )
        with np.errstate(over="ignore"):
            values = tensor.values().astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            what = "NaN" if np.isnan(values).any() else "a number that float32 cannot hold"
            raise UserError(f"weights '{self.path}' cannot be used: {shown(tensor.name)} holds {what}")
        return values


def of_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> WeightFile:
    """Of a safetensors file's arrays."""
    tensors = (
        Stored(name, tuple(array.shape), str(array.dtype), lambda array=array: array)  # type: ignore[misc]
        for name, array in arrays.items()
    )
    return WeightFile(path, unwrapped(tensors), in_order=False)


def unwrapped(tensors: Iterable[Stored]) -> tuple[Stored, ...]:
    """Without the prefixes that all names have in common."""
    found = tuple(tensors)
    while found:
        prefix = next((known for known in _PREFIXES if all(one.name.startswith(known) for one in found)), None)
        if prefix is None:
            break
        found = tuple(replace(one, name=one.name.removeprefix(prefix)) for one in found)
    return found
