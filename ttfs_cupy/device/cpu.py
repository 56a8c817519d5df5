"""This machine's CPU: kernels built by a C++ compiler, over a pool of threads."""

import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import psutil

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.machine.control_groups import memory_left
from ttfs_cupy.common.machine.cores import chosen_threads
from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.common.machine.threads import ThreadPool
from ttfs_cupy.device.arrays import Array, Stack, to_host
from ttfs_cupy.device.compilation import cpu_library, source
from ttfs_cupy.device.interface import check_work
from ttfs_cupy.device.launcher import checked_arguments

# Columns of a panel on the CPU, as in kernels/products.cpp
PANEL = 32


class CpuDevice:
    """The same kernels, built by a C++ compiler, over a pool of threads.

    Matrix products are a kernel, too (kernels/products.cpp), so there is one pool of threads. How work is cut into
    tasks depends on the shapes alone: the bits of a result do not depend on how many threads there are.

    threads: None for OMP_NUM_THREADS, else one for each core; never more than there are cores. Where that is not what
    was asked for, threads_note says so, as a part of a sentence. Raises UserError for what is no number of threads.
    """

    # Below this many elements of an element-wise kernel, handing a share to another thread costs more than the work.
    SMALLEST_SHARE = 16384

    name = target = "cpu"
    xp = np
    # patches of one task: a few MB stay in the last-level cache, between gathering and product
    patch_bytes = 4 << 20
    product_bytes = 8 << 20
    # one cache line: matrices a multiple of 4 KiB apart would all compete for one set of the first-level cache
    stack_gap = 16
    sum_groups = 4
    gpu = None
    streams = None

    def __init__(self, threads: int | None = None):
        wanted = None if threads is None else check_count("threads", threads)
        self.workers, self.threads_note = chosen_threads(wanted)
        self.description = f"CPU, {self.workers} thread{'s' if self.workers > 1 else ''}"
        self._loaded: dict[str, Any] | None = None
        self.after_fork()
        renew_in_children(self)

    def after_fork(self) -> None:
        # besides the thread that calls, which takes a share itself
        self._pool = ThreadPool(max(1, self.workers - 1), "ttfs_cupy")
        self._inside_task = threading.local()

    def __reduce__(self) -> tuple[type["CpuDevice"], tuple[int]]:
        """Its pickle: as many threads of the machine that reads it, if that has as many cores."""
        return type(self), (self.workers,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "CpuDevice":
        # a copied network computes on the same machine
        return self

    @property
    def _entries(self) -> dict[str, Any]:
        """The library's function for each kernel."""
        # no lock, which a process that is forked meanwhile would wait for: two threads may load it twice
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> dict[str, Any]:
        library, entries = cpu_library.load(), {}
        for kernel in source.kernels("cpu").values():
            entry = getattr(library, f"ttfs_{kernel.name}")
            entry.restype = None
            entry.argtypes = [ctypes.c_int, ctypes.c_int] + [_c_type(p) for p in kernel.parameters]
            entries[kernel.name] = entry
        return entries

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def alone(self) -> AbstractContextManager[Any]:
        # each call has scratch memory of its own, and the pool takes tasks of several
        return nullcontext()

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        if work <= 0:
            return
        check_work(kernel, work)
        values = [
            value.__array_interface__["data"][0] if isinstance(value, np.ndarray) else value
            for value in checked_arguments(source.kernels("cpu")[kernel], arguments, np.ndarray)
        ]
        entry = self._entries[kernel]
        shares = min(self.workers, work * each // self.SMALLEST_SHARE)
        if shares <= 1 or getattr(self._inside_task, "yes", False):
            entry(0, 1, *values)
            return
        self._pool.run([partial(entry, share, shares, *values) for share in range(shares)])

    def launch_blocks(self, variant: source.Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        raise NotImplementedError(f"kernel {variant.kernel} is for GPUs")

    def compile_ahead(self, variants: Iterable[source.Variant]) -> None:
        """The kernels for the CPU are one library."""

    def registers(self, variant: source.Variant) -> int:
        raise NotImplementedError(f"kernel {variant.kernel} is for GPUs")

    def panel(self, columns: int) -> int:
        return PANEL

    def multiply(self, a: Stack, b: Stack, out: Stack, *, transposed: bool = False, add: bool = False) -> None:
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

        if tasks > 0:
            self._pool.run([partial(work, worker) for worker in range(min(self.workers, tasks))])

    def holds(self, array: Any) -> bool:
        return isinstance(array, np.ndarray) and array.flags.aligned

    def to_device(self, array: Array) -> np.ndarray:
        contiguous = np.ascontiguousarray(self.to_host(array))
        return contiguous if contiguous.flags.aligned else contiguous.copy()

    def to_host(self, array: Array) -> np.ndarray:
        return to_host(array)

    def synchronize(self) -> None:
        pass

    def seconds(self, body: Callable[[], None]) -> float:
        start = time.perf_counter()
        body()
        return time.perf_counter() - start

    def free_bytes(self) -> int:
        left = memory_left()
        available: int = psutil.virtual_memory().available
        return available if left is None else min(available, left)


def _c_type(parameter: source.Parameter) -> Any:
    return ctypes.c_void_p if parameter.is_pointer else np.ctypeslib.as_ctypes_type(parameter.dtype)
