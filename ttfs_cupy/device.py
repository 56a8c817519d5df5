"""A device is this machine's CPU or one CUDA GPU: arrays, kernel launches, matrix products, parallel tasks.

This is the only module that imports CuPy, and only when a GPU is asked for.
"""

import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import psutil

from ttfs_cupy import cuda_libraries
from ttfs_cupy.errors import UserError
from ttfs_cupy.kernels import cpu_library, source
from ttfs_cupy.kernels.launcher import MAX_ELEMENTS, checked_arguments

# Columns of a panel on the CPU, as in kernels/products.cpp
PANEL = 32

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


class Device(Protocol):
    """What the engine asks of a device. name is what the config calls it, target (cpu or cuda) what its kernels are
    built for, xp its array library.

    workers: how many tasks `parallel` runs at once. patch_bytes: a good size for what one task gathers; product_bytes:
    for what all workers multiply together. adds_products: whether `multiply` can add to what is there by itself.
    stack_gap: how many floats apart the matrices of a stack should lie. sum_groups: into how many tasks a sum over a
    batch is best split; it does not depend on the number of workers, since bits depend on it.
    """

    @property
    def name(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def xp(self) -> ModuleType: ...
    @property
    def workers(self) -> int: ...
    @property
    def patch_bytes(self) -> int: ...
    @property
    def product_bytes(self) -> int: ...
    @property
    def adds_products(self) -> bool: ...
    @property
    def stack_gap(self) -> int: ...
    @property
    def sum_groups(self) -> int: ...

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        """Runs a kernel over `work` elements; an empty grid launches nothing.

        each: about how many times as much an element takes as one of an element-wise kernel.
        """

    def panel(self, columns: int) -> int:
        """How wide the panels are in which `multiply` likes a right-hand matrix of so many columns."""

    def multiply(
        self, a: Stack, b: Stack, out: Stack, *, transposed: bool = False, add: bool = False, term: Stack | None = None
    ) -> None:
        """out = a b, or with `transposed` out = aT b, for each matrix of the stacks; with `add`, out += that.

        b and out may be larger grids than a: it is their upper left corner then. b and only b may be in panels. term: a
        stack like out, for a device that cannot add; None unless `add`.
        """

    def parallel(self, tasks: int, body: Callable[[int, int], None]) -> None:
        """Calls body(task, worker) once for each task, in any order; worker < workers names the caller's buffers."""

    def to_device(self, array: Array) -> Array:
        """A C-contiguous array on this device (the same one if it is that already)."""

    def to_host(self, array: Array) -> np.ndarray:
        """A NumPy array of the values (the same one if it is that already)."""

    def synchronize(self) -> None:
        """Waits until all launched work is done."""

    def free_bytes(self) -> int:
        """Memory that an array could still take."""


class CpuDevice:
    """The same kernels, built by a C++ compiler, over a pool of threads.

    Matrix products are a kernel, too (kernels/products.cpp), so there is one pool of threads. How work is cut into
    tasks depends on the shapes alone: the bits of a result do not depend on how many threads there are.
    """

    # Below this many elements of an element-wise kernel, handing a share to another thread costs more than the work.
    SMALLEST_SHARE = 16384

    name = target = "cpu"
    xp = np
    # patches of one task: a few MB stay in the last-level cache, between gathering and product
    patch_bytes = 4 << 20
    product_bytes = 8 << 20
    adds_products = True
    # one cache line: matrices a multiple of 4 KiB apart would all compete for one set of the first-level cache
    stack_gap = 16
    sum_groups = 4

    def __init__(self, threads: int | None = None):
        self.workers = threads or available_cores()
        self.description = f"CPU, {self.workers} thread{'s' if self.workers > 1 else ''}"
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="ttfs_cupy")
        self._inside_task = threading.local()

    @cached_property
    def _entries(self) -> dict[str, Any]:
        """The library's function for each kernel."""
        library, entries = cpu_library.load(), {}
        for kernel in source.kernels("cpu").values():
            entry = getattr(library, f"ttfs_{kernel.name}")
            entry.restype = None
            entry.argtypes = [ctypes.c_int, ctypes.c_int] + [_c_type(p) for p in kernel.parameters]
            entries[kernel.name] = entry
        return entries

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        if work <= 0:
            return
        _check_work(kernel, work)
        values = [
            value.__array_interface__["data"][0] if isinstance(value, np.ndarray) else value
            for value in checked_arguments(source.kernels("cpu")[kernel], arguments, np.ndarray)
        ]
        entry = self._entries[kernel]
        shares = min(self.workers, work * each // self.SMALLEST_SHARE)
        if shares <= 1 or getattr(self._inside_task, "yes", False):
            entry(0, 1, *values)
            return
        others = [self._pool.submit(entry, share, shares, *values) for share in range(1, shares)]
        try:
            entry(0, shares, *values)
        finally:
            _wait_for(others)

    def panel(self, columns: int) -> int:
        return PANEL

    def multiply(
        self, a: Stack, b: Stack, out: Stack, *, transposed: bool = False, add: bool = False, term: Stack | None = None
    ) -> None:
        depth = a.rows if transposed else a.columns
        work = a.count * -(-out.columns // PANEL)
        arrays = (a.array, a.step, b.array, b.step, b.across, out.array, out.step, out.across)
        sizes = (a.count // a.across, a.across, out.rows, depth, out.columns)
        flags = (int(transposed), int(b.panel > 0), int(add))
        self.launch("multiply", work, *arrays, *flags, *sizes, each=out.rows * depth)

    def parallel(self, tasks: int, body: Callable[[int, int], None]) -> None:
        numbers = itertools.count()  # its next() is atomic: a queue that needs no lock

        def work(worker: int) -> None:
            self._inside_task.yes = True
            try:
                while (task := next(numbers)) < tasks:
                    body(task, worker)
            finally:
                self._inside_task.yes = False

        others = [self._pool.submit(work, worker) for worker in range(1, min(self.workers, tasks))]
        try:
            work(0)
        finally:
            _wait_for(others)

    def to_device(self, array: Array) -> np.ndarray:
        return np.ascontiguousarray(self.to_host(array))

    def to_host(self, array: Array) -> np.ndarray:
        return array.get() if _is_cupy(array) else np.asarray(array)

    def synchronize(self) -> None:
        pass

    def free_bytes(self) -> int:
        return min(psutil.virtual_memory().available, _left_in_control_group())


class CudaDevice:
    """One NVIDIA GPU, through CuPy."""

    BLOCK = 256

    target = "cuda"
    # patches are written to and read from device memory, so a chunk may be large
    patch_bytes = 256 << 20
    product_bytes = 256 << 20
    adds_products = False
    stack_gap = 0
    sum_groups = 1
    workers = 1

    def __init__(self, index: int = 0):
        cupy = import_cupy()
        self.xp = cupy
        self.index = index
        self.name = f"cuda:{index}"
        self._device = cupy.cuda.Device(index)
        self._device.use()
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        capability = f"{properties['major']}.{properties['minor']}"
        self.description = f"GPU {index}, {properties['name'].decode()}, compute capability {capability}"
        self._most_blocks = 32 * properties["multiProcessorCount"]
        self._functions: dict[str, Any] = {}

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        if work <= 0:
            return
        _check_work(kernel, work)
        described = source.kernels("cuda")[kernel]
        values = checked_arguments(described, arguments, self.xp.ndarray)
        for index, parameter in enumerate(described.parameters):
            if not parameter.is_pointer:
                # the driver reads as many bytes as the kernel declares, whatever CuPy passes
                values[index] = parameter.dtype.type(values[index])
            elif values[index] is None:
                values[index] = np.uintp(0)  # the null pointer, by value
            elif values[index].device.id != self.index:
                raise ValueError(
                    f"kernel {kernel}: {parameter.name} lies on cuda:{values[index].device.id}, not {self.name}"
                )
        blocks = min(-(-work // self.BLOCK), self._most_blocks)
        self._function(kernel)((blocks,), (self.BLOCK,), tuple(values))

    def _function(self, kernel: str) -> Any:
        if kernel not in self._functions:
            file = source.kernels("cuda")[kernel].file
            module = self.xp.RawModule(code=source.cuda_text(file), options=("-std=c++17",))
            for other in source.kernels("cuda").values():
                if other.file == file:
                    self._functions[other.name] = module.get_function(other.name)
        return self._functions[kernel]

    def panel(self, columns: int) -> int:
        # cuBLAS reads plain matrices: one panel of all columns
        return columns

    def multiply(
        self, a: Stack, b: Stack, out: Stack, *, transposed: bool = False, add: bool = False, term: Stack | None = None
    ) -> None:
        # without gaps and in one panel, every stack is a plain array; of a corner, each row of matrices is one
        assert add == (term is not None)
        down = a.count // a.across
        rows, across = (1, a.count) if a.across == b.across == out.across else (down, a.across)
        for y in range(rows):
            left, right, target = (self._matrices(stack, y, across) for stack in (a, b, out))
            left = left.swapaxes(1, 2) if transposed else left
            if term is None:
                self.xp.matmul(left, right, out=target)
            else:
                product = self._matrices(term, y, across)
                self.xp.matmul(left, right, out=product)
                self.launch("add", target.size, target, product, target.size)

    @staticmethod
    def _matrices(stack: Stack, y: int, count: int) -> Array:
        """The first matrices of row y of the grid."""
        first = y * stack.across
        return stack.array[first : first + count].reshape(count, stack.rows, stack.columns)

    def parallel(self, tasks: int, body: Callable[[int, int], None]) -> None:
        # the stream orders the launches; each fills the GPU by itself
        for task in range(tasks):
            body(task, 0)

    def to_device(self, array: Array) -> Array:
        with self._device:
            return self.xp.ascontiguousarray(self.xp.asarray(array))

    def to_host(self, array: Array) -> np.ndarray:
        return array.get() if _is_cupy(array) else np.asarray(array)

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int:
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return int(free + self.xp.get_default_memory_pool().free_bytes())


def get(name: str = "auto", threads: int | None = None) -> tuple[Device, str]:
    """The device of that name (auto, cuda, cuda:N or cpu) and why it is this one.

    Raises UserError for a name that is none of these, or a GPU that is not there.
    """
    if name == "cpu":
        return CpuDevice(threads), "asked for"
    if name == "auto":
        trouble = cuda_trouble()
        if trouble:
            return CpuDevice(threads), trouble
        return CudaDevice(0), "a usable GPU was found"
    kind, _, number = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not number.isdecimal()):
        raise UserError(f"device '{name}' is not known: use auto, cuda, cuda:N or cpu")
    index = int(number or 0)
    trouble = cuda_trouble(index)
    if trouble:
        raise UserError(f"device '{name}' cannot be used: {trouble}; device 'cpu' works everywhere")
    return CudaDevice(index), "asked for"


def cuda_trouble(index: int = 0) -> str | None:
    """Why that GPU cannot be used, or None if it can."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "this machine has no NVIDIA driver (libcuda.so.1)"
    try:
        cupy = import_cupy()
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own classes, which do not exist where its import is what fails
        return f"CuPy cannot use the GPU ({next(iter(str(error).splitlines()), type(error).__name__)})"
    if count == 0:
        return "the driver sees no GPU"
    return None if index < count else f"there are GPUs 0 to {count - 1} only"


@cache
def import_cupy() -> ModuleType:
    """CuPy, with the CUDA libraries that it was built for."""
    with cuda_libraries.found_by_cupy(cuda_libraries.preload()):
        import cupy

        # CuPy looks for these two when they are first used, and remembers: they are used now
        cupy.cuda.get_cuda_path()
        with suppress(Exception):  # a missing NVRTC is told when something is compiled
            cupy.cuda.nvrtc.getVersion()
    return cupy


def available_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _left_in_control_group() -> int:
    """What a container's limit leaves to this process; without a limit, more than any machine has."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        return int(limit) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return sys.maxsize


def _wait_for(others: list[Future[None]]) -> None:
    """Also when this thread is interrupted: the others still write into shared buffers."""
    # all of them, before the first failure among them is raised here
    wait(others)
    for other in others:
        other.result()


def _is_cupy(array: Any) -> bool:
    return type(array).__module__.partition(".")[0] == "cupy"


def _check_work(kernel: str, work: int) -> None:
    if work > MAX_ELEMENTS:
        raise ValueError(f"kernel {kernel}: {work} elements at once are above {MAX_ELEMENTS}; use a smaller batch")


def _c_type(parameter: source.Parameter) -> Any:
    return ctypes.c_void_p if parameter.is_pointer else np.ctypeslib.as_ctypes_type(parameter.dtype)
