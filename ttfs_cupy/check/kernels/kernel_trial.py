"""Where a kernel is tried: launches it on NumPy arguments, watches what it touches, measures its error."""

import hashlib
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.compilation.source import Kernel, Variant

# Elements to either side of each array; a multiple of what the widest vector load is aligned to.
GUARD = 64
_GUARD_BYTE = 0xA5

# A launch over this much work is three blocks on a GPU and one share on the CPU, whatever the data: each thread then
# has to come round many times.
_FEW = 700
_FEW_BLOCKS = 3

# Below it numbers are denormal, which GPUs flush to zero here.
_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


class KernelTrial:
    """One kernel on one device. Draws are the same for a kernel every time."""

    def __init__(self, kernel: Kernel, device: Device, guard: int = GUARD):
        self.random = np.random.default_rng(zlib.crc32(kernel.name.encode()))
        self.largest_error = 0.0
        self.problems: list[str] = []
        self._kernel = kernel
        self._device = device
        self._guard = guard
        self._hash = hashlib.sha256()

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self.random.standard_normal(shape)).astype(np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        return self.random.uniform(low, high, shape).astype(np.float32)

    def spikes(self, *shape: int, silent: float = 0.4) -> np.ndarray:
        """Earliness in [0, 1] on a coarse grid, so that ties are common; that share of it is silent."""
        levels = self.random.integers(1, 17, shape) / 16
        return np.where(self.random.random(shape) < silent, 0, levels).astype(np.float32)

    def blank(self, *shape: int, dtype: type = np.float32) -> np.ndarray:
        """An array to be written: what a kernel leaves out shows as NaN, or as an absurd integer."""
        return np.full(shape, np.nan if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max // 3, dtype)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def launch(self, work: int, *arguments: Any) -> list[np.ndarray]:
        """What the kernel leaves in the arrays that it may write and was given, in the order of its parameters.

        It is launched twice, over `work` elements and over few, each time with arguments as given.
        """
        name = self._kernel.name
        return self._twice(lambda size, *values: self._device.launch(name, size, *values), work, _FEW, arguments)

    def launch_blocks(self, variant: Variant, blocks: int, *arguments: Any) -> list[np.ndarray]:
        """The same of a cooperative kernel: in so many blocks, and in few."""
        run = partial(self._device.launch_blocks, variant)
        return self._twice(lambda count, *values: run(count, 0, *values), blocks, _FEW_BLOCKS, arguments)

    def _twice(self, run: Callable[..., None], size: int, few: int, arguments: tuple[Any, ...]) -> list[np.ndarray]:
        results = self._launch(partial(run, size), arguments)
        again = self._launch(partial(run, min(size, few)), arguments)
        if any(one.tobytes() != other.tobytes() for one, other in zip(results, again, strict=True)):
            self._note("the bits of the result depend on the size of the grid")
        for result in results:
            self._hash.update(result.tobytes())
        return results

    def unbounded(self, *shape: int) -> np.ndarray:
        """Normal numbers, a NaN and both infinities among them as far as there is room."""
        values = self.normal(*shape)
        places = self.random.choice(values.size, min(values.size, 3), replace=False)
        values.reshape(-1)[places] = (np.nan, np.inf, -np.inf)[: len(places)]
        return values

    def compare(self, actual: np.ndarray, expected: np.ndarray, scale: np.ndarray | float | None = None) -> None:
        """Takes note of the largest |actual - expected| / scale; scale is |expected| unless given.

        Where scale is 0 the two must be equal. NaN must meet NaN.
        """
        actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
        size = np.broadcast_to(np.abs(expected) if scale is None else np.asarray(scale, np.float64), expected.shape)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            distance = np.abs(actual - expected)
            error = distance / size
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected)) | (distance < _SMALLEST_NORMAL)
        error = np.where(same, 0, np.where(np.isnan(error), np.inf, error))
        self.largest_error = max(self.largest_error, float(error.max(initial=0)))

    def require(self, truth: bool | np.bool_, otherwise: str) -> None:
        """For what no error measures."""
        if not truth:
            self._note(otherwise)

    def _launch(self, run: Callable[..., None], arguments: tuple[Any, ...]) -> list[np.ndarray]:
        placed: dict[int, _Guarded] = {}
        values = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                # an array that is passed twice is one array on the device, too
                guarded = placed.setdefault(id(argument), _Guarded(argument, self._device, self._guard))
                values.append(guarded.array)
            else:
                values.append(argument)
        run(*values)
        self._device.synchronize()
        written = {
            id(argument)
            for parameter, argument in zip(self._kernel.parameters, arguments, strict=True)
            if parameter.is_pointer and not parameter.is_const and argument is not None
        }
        for key, guarded in placed.items():
            if not guarded.is_intact:
                self._note("it writes outside its arrays")
            if key not in written and guarded.values().tobytes() != guarded.given.tobytes():
                self._note("it changes an array that it declares const")
        return [
            placed[id(argument)].values()
            for parameter, argument in zip(self._kernel.parameters, arguments, strict=True)
            if parameter.is_pointer and not parameter.is_const and argument is not None
        ]

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


class _Guarded:
    """A copy of an array on the device, between bytes that nobody may change."""

    def __init__(self, given: np.ndarray, device: Device, guard: int):
        self.given = given
        self._device = device
        self._inner = slice(guard * given.itemsize, guard * given.itemsize + given.nbytes)
        whole = np.full(given.nbytes + 2 * guard * given.itemsize, _GUARD_BYTE, np.uint8)
        whole[self._inner] = np.ascontiguousarray(given).reshape(-1).view(np.uint8)
        self._whole = device.to_device(whole)
        self.array: Array = self._whole[self._inner].view(given.dtype).reshape(given.shape)

    @property
    def is_intact(self) -> bool:
        host = self._device.to_host(self._whole)
        return bool(
            (host[: self._inner.start] == _GUARD_BYTE).all() and (host[self._inner.stop :] == _GUARD_BYTE).all()
        )

    def values(self) -> np.ndarray:
        host = self._device.to_host(self._whole)[self._inner]
        return host.view(self.given.dtype).reshape(self.given.shape).copy()
