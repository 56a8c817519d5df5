"""A GPU that computes nothing: it writes down what the engine launches, and the bytes that each launch handles."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ttfs_cupy.benchmarks.gpu_model.assumptions import Gpu
from ttfs_cupy.device import Array, CudaDevice, Stack
from ttfs_cupy.device.compilation import cubins, source
from ttfs_cupy.device.compilation.source import Variant


class Pages(np.ndarray):
    """Memory that is never touched: an assignment to it is only written down."""

    recorder: "RecordingGpu | None" = None

    def __array_finalize__(self, of: object) -> None:
        self.recorder = getattr(of, "recorder", None)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.recorder is None:
            super().__setitem__(key, value)
        else:
            size = self[key].nbytes
            self.recorder.launches.append(Recorded("copy", read=size, written=size))


@dataclass(frozen=True)
class Recorded:
    """A launch: bytes that it reads and writes, every array once; multiply-adds of a cuBLAS product.

    values: its scalar arguments by name. variant, blocks, shared_bytes: of a cooperative kernel.
    """

    kernel: str
    read: int
    written: int
    work: int = 0
    products: int = 0
    values: tuple[tuple[str, float], ...] = ()
    variant: Variant | None = None
    blocks: int = 0
    shared_bytes: int = 0

    def value(self, name: str) -> int:
        return int(dict(self.values)[name])

    @property
    def bytes(self) -> int:
        return self.read + self.written


class RecordingGpu(CudaDevice):
    """In all that decides what is launched a CudaDevice; arrays are NumPy's, of memory that nothing touches."""

    def __init__(self, gpu: Gpu):
        self.xp = np
        self.index = 0
        self.name = self.description = gpu.name
        self.gpu = gpu.limits
        # nothing is copied ahead, and nothing recorded as a graph
        self.streams = None  # type: ignore[assignment]
        self._architecture = gpu.architecture
        self.launches: list[Recorded] = []

    def pages(self, *shape: int, dtype: type = np.float32) -> Array:
        """An array whose values do not matter."""
        array = np.empty(shape, dtype).view(Pages)
        array.recorder = self
        return array

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def alone(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        if work > 0:
            read, written, values = _handled(source.kernels("cuda")[kernel], arguments)
            if kernel in ("gather_patches", "gather_output_gradients"):
                # a chunk of the images: as many values as it makes patches of
                halves = 2 if kernel == "gather_patches" and values["has_mask"] else 1
                taps = values["kernel_h"] * values["kernel_w"]
                read = int(written / (halves * taps))
            self.launches.append(Recorded(kernel, read, written, work, values=tuple(values.items())))

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        if blocks > 0:
            read, written, values = _handled(source.kernels(source.COOPERATIVE)[variant.kernel], arguments)
            more = {"values": tuple(values.items()), "variant": variant, "blocks": blocks, "shared_bytes": shared_bytes}
            self.launches.append(Recorded(variant.kernel, read, written, **more))  # type: ignore[arg-type]

    def registers(self, variant: Variant) -> int:
        return registers(variant, self._architecture)

    def multiply(self, a: Stack, b: Stack, out: Stack, *, transposed: bool = False, add: bool = False) -> None:
        sizes = [4 * stack.count * stack.rows * stack.columns for stack in (a, b, out)]
        products = a.count * a.rows * a.columns * b.columns
        read = sum(sizes[: 3 if add else 2])
        self.launches.append(Recorded("cublas", read, sizes[2], products=products))

    def holds(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def to_device(self, array: Array) -> Array:
        return np.ascontiguousarray(array)

    def synchronize(self) -> None:
        pass


@cache
def registers(variant: Variant, architecture: int) -> int:
    """Of a thread, as the assembler says. Raises UserError where NVRTC cannot be loaded."""
    return cubins.cubin(variant.unit, architecture).registers(variant.kernel)


def _handled(kernel: source.Kernel, arguments: tuple[Any, ...]) -> tuple[int, int, dict[str, float]]:
    """Bytes read and written by a launch, and its scalars."""
    read = written = 0
    values: dict[str, float] = {}
    for parameter, argument in zip(kernel.parameters, arguments, strict=True):
        if not parameter.is_pointer:
            values[parameter.name] = argument
        elif argument is not None and parameter.is_const:
            read += argument.nbytes
        elif argument is not None:
            written += argument.nbytes
            # parts of a sum are read again by the block that adds them up; moments and weights are updated in place
            read += argument.nbytes if parameter.name in ("parts", "weights", "first_moment", "second_moment") else 0
    return read, written, values
