"""What a file of weights holds: tensors with names, shapes and types, each read when it is asked for."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

# float64 is rounded; of the others not a bit is lost
FLOATS = ("float32", "float16", "bfloat16", "float64")


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


def of_arrays(path: Path, arrays: Mapping[str, np.ndarray], bfloat16: Collection[str] = ()) -> WeightFile:
    """Of a safetensors file's arrays. bfloat16: the names of those that the file holds as that, not as float32."""
    tensors = (
        Stored(name, array.shape, "bfloat16" if name in bfloat16 else str(array.dtype), lambda array=array: array)  # type: ignore[misc]
        for name, array in arrays.items()
    )
    return WeightFile(path, unwrapped(tensors), in_order=False)


def unwrapped(tensors: Iterable[Stored]) -> tuple[Stored, ...]:
    """Without what all names begin with, up to a dot: DataParallel puts `module.` there, torch.compile `_orig_mod.`, a
    class of one's own the attribute whose value the network is. The last two parts, layer and tensor, stay."""
    found = tuple(tensors)
    while len(first := {one.name.partition(".")[0] for one in found}) == 1:
        (prefix,) = first
        inner = [one.name.removeprefix(f"{prefix}.") for one in found]
        if not any("." in name for name in inner):
            break
        found = tuple(replace(one, name=name) for one, name in zip(found, inner, strict=True))
    return found
