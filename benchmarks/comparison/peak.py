"""What the device multiplies at most, for scale."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.measure import best_of, clock_between
from ttfs_cupy.device import Device, Stack

# Rows and columns: enough that arithmetic decides, and not memory.
SIZES = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Peak:
    """GFLOP/s of a float32 product of square matrices, and whose product it was."""

    gflops: float
    size: int
    by: str


def peak(device: Device, *, numpy_too: bool, torch_too: bool) -> Peak:
    """The fastest product at hand.

    numpy_too: NumPy's counts on a CPU; not where the number of threads was asked for, which its BLAS would not hear of.
    """
    size = SIZES[device.target]
    candidates = {"the engine": _by_engine(device, size)}
    if numpy_too and device.target == "cpu":
        candidates["NumPy"] = _by_numpy(device, size)
    if torch_too:
        candidates["PyTorch"] = _by_torch(device, size)
    by = min(candidates, key=lambda name: candidates[name])
    return Peak(2 * size**3 / candidates[by] / 1e9, size, by)


def _by_engine(device: Device, size: int) -> float:
    """Seconds."""
    left, right = _matrices(size)
    panel = device.panel(size)
    # the right-hand matrix in panels, as `multiply` likes it
    panels = device.to_device(right.reshape(size, size // panel, panel).transpose(1, 0, 2))
    a, b = Stack.of(device.to_device(left)), Stack(panels.reshape(1, -1), size, size, panel)
    out = Stack.of(device.xp.empty((size, size), np.float32))
    return best_of(clock_between(device.synchronize), lambda: device.multiply(a, b, out))


def _by_numpy(device: Device, size: int) -> float:
    left, right = _matrices(size)
    out = np.empty((size, size), np.float32)
    return best_of(clock_between(device.synchronize), lambda: np.matmul(left, right, out=out))


def _by_torch(device: Device, size: int) -> float:
    from ttfs_cupy.benchmarks.peers import pytorch

    return best_of(pytorch.clock(device.name), pytorch.multiplication(size, device.name))


def _matrices(size: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.random((size, size), np.float32) for _ in range(2))
