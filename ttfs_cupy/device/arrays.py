"""Arrays, and how matrices are handed to a device."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# numpy.ndarray on the CPU, cupy.ndarray on a GPU; CuPy has no static types to tell them apart
Array = Any


@dataclass(frozen=True)
class Stack:
    """A grid of matrices for Device.multiply: array (down * across, floats from one matrix to the next), float32.

    A matrix is (rows, columns), or in panels, (panels, rows, panel), and 0 beyond the last column.
    """

    array: Array
    rows: int
    columns: int
    panel: int = 0
    across: int = 1

    @classmethod
    def of(cls, matrix: Array) -> "Stack":
        """One plain matrix."""
        return cls(matrix.reshape(1, -1), *matrix.shape)

    @property
    def count(self) -> int:
        return int(self.array.shape[0])

    @property
    def step(self) -> int:
        return int(self.array.shape[1])


def to_host(array: Array) -> np.ndarray:
    """A NumPy array of the values (the same one if it is that already)."""
    is_cupy = type(array).__module__.partition(".")[0] == "cupy"
    return array.get() if is_cupy else np.asarray(array)
