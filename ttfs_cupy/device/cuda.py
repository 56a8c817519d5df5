"""One NVIDIA GPU, through CuPy."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.device.arrays import Array, Stack, to_host
from ttfs_cupy.device.compilation import cubins, source
from ttfs_cupy.device.compilation.cubins import Cubin
from ttfs_cupy.device.compilation.source import NO_CONSTANTS, Constants, Unit, Variant
from ttfs_cupy.device.cublas import Cublas
from ttfs_cupy.device.gpu_limits import GpuLimits
from ttfs_cupy.device.interface import check_work
from ttfs_cupy.device.launcher import checked_arguments
from ttfs_cupy.device.libraries.cupy_library import import_cupy
from ttfs_cupy.device.libraries.nccl_library import import_nccl
from ttfs_cupy.device.streams import Streams

_OF_PARENT: list[Any] = []


class _OfParent:
    """What a forked process has of its parent's CuPy and streams: nothing that it may touch."""

    def __init__(self, refuse: Callable[[], None]):
        self._refuse = refuse

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()
        raise AttributeError(name)


class CudaDevice:
    """One NVIDIA GPU, through CuPy."""

    BLOCK = 256

    target = "cuda"
    # patches are written to and read from device memory, so a chunk may be large
    patch_bytes = 256 << 20
    product_bytes = 256 << 20
    stack_gap = 0
    sum_groups = 1
    workers = 1

    def __init__(self, index: int = 0):
        self._is_of_parent = False
        self._in_use = threading.RLock()
        cupy = import_cupy()
        self.xp = cupy
        self.index = index
        self.name = f"cuda:{index}"
        cupy.cuda.Device(index).use()
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        capability = f"{properties['major']}.{properties['minor']}"
        self.description = f"GPU {index}, {properties['name'].decode()}, compute capability {capability}"
        self._most_blocks = 32 * properties["multiProcessorCount"]
        self.streams = Streams(cupy)
        self._cublas = Cublas(cupy, (properties["major"], properties["minor"]))
        self._functions: dict[tuple[str, Constants], Any] = {}
        self._cubins: dict[Unit, Cubin] = {}
        self.gpu = GpuLimits(
            capability=(properties["major"], properties["minor"]),
            multiprocessors=properties["multiProcessorCount"],
            registers=properties["regsPerMultiprocessor"],
            threads=properties["maxThreadsPerMultiProcessor"],
            blocks=properties["maxBlocksPerMultiProcessor"],
            shared_bytes=properties["sharedMemPerMultiprocessor"],
            block_shared_bytes=properties["sharedMemPerBlockOptin"],
        )
        renew_in_children(self)

    def after_fork(self) -> None:
        """Has all that would ask CUDA for something refused in the child: there, its calls fail or hang."""
        self._is_of_parent = True
        # nothing of it may be destroyed here, either
        _OF_PARENT.append((dict(vars(self.streams)), self._cublas, self.xp))
        gone: Any = _OfParent(self._refuse_in_child)
        # streams by what they hold: whoever works in steps has them already
        vars(self.streams).update(dict.fromkeys(vars(self.streams), gone))
        self.xp = self._cublas = gone

    def __reduce__(self) -> tuple[type["CudaDevice"], tuple[int]]:
        """Its pickle: the GPU of that number of the machine that reads it."""
        return type(self), (self.index,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "CudaDevice":
        # a copied network computes on the same GPU
        return self

    def _refuse_in_child(self) -> None:
        """Raises UserError in a forked process."""
        if self._is_of_parent:
            raise UserError(
                f"{self.name} was opened before this process was forked, and CUDA does not survive that: start "
                "processes by multiprocessing.get_context('spawn'), or call get_device() in the child alone"
            )

    def current(self) -> AbstractContextManager[Any]:
        self._refuse_in_child()
        # a new one each time: it keeps the GPU to go back to, and serves one thread
        current: AbstractContextManager[Any] = self.xp.cuda.Device(self.index)
        return current

    def alone(self) -> AbstractContextManager[Any]:
        self._refuse_in_child()
        return self._alone()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._in_use, self.current():
            yield

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        self._refuse_in_child()
        if work <= 0:
            return
        check_work(kernel, work)
        values = self._arguments(source.kernels("cuda")[kernel], arguments)
        blocks = min(-(-work // self.BLOCK), self._most_blocks)
        self._function(kernel)((blocks,), (self.BLOCK,), values)

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        self._refuse_in_child()
        if blocks <= 0:
            return
        values = self._arguments(source.kernels(source.COOPERATIVE)[variant.kernel], arguments)
        function = self._function(variant.kernel, variant.constants)
        if shared_bytes > function.max_dynamic_shared_size_bytes:
            # beyond 48 KiB the driver wants to be asked
            function.max_dynamic_shared_size_bytes = shared_bytes
        function((blocks,), (variant.threads,), values, shared_mem=shared_bytes)

    def compile_ahead(self, variants: Iterable[Variant]) -> None:
        self._compile(variant.unit for variant in variants)

    def registers(self, variant: Variant) -> int:
        return self._cubin(variant.unit).registers(variant.kernel)

    def _arguments(self, kernel: source.Kernel, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """As the driver takes them. Raises TypeError or ValueError that names the kernel and the parameter."""
        values = checked_arguments(kernel, arguments, self.xp.ndarray)
        for index, parameter in enumerate(kernel.parameters):
            if not parameter.is_pointer:
                # the driver reads as many bytes as the kernel declares, whatever CuPy passes
                values[index] = parameter.dtype.type(values[index])
            elif values[index] is None:
                values[index] = np.uintp(0)  # the null pointer, by value
            elif values[index].device.id != self.index:
                raise ValueError(
                    f"kernel {kernel.name}: {parameter.name} lies on cuda:{values[index].device.id}, not {self.name}"
                )
        return tuple(values)

    def _function(self, kernel: str, constants: Constants = NO_CONSTANTS) -> Any:
        if (kernel, constants) not in self._functions:
            target = "cuda" if kernel in source.kernels("cuda") else source.COOPERATIVE
            file = source.kernels(target)[kernel].file
            module = self._module(file, constants)
            for other in source.kernels(target).values():
                if other.file == file:
                    self._functions[other.name, constants] = module.get_function(other.name)
        return self._functions[kernel, constants]

    def _module(self, file: str, constants: Constants) -> Any:
        unit = Unit(file, constants)
        if not self._cubin(unit).path.exists():
            # the cache may be deleted at any time
            del self._cubins[unit]
        return self.xp.RawModule(path=str(self._cubin(unit).path))

    def _cubin(self, unit: Unit) -> Cubin:
        self._compile([unit])
        return self._cubins[unit]

    def _compile(self, units: Iterable[Unit]) -> None:
        missing = [unit for unit in units if unit not in self._cubins]
        if missing or not self._cubins:
            self._cubins |= cubins.compile_ahead(missing, self.gpu.capability)

    def panel(self, columns: int) -> int:
        # cuBLAS reads plain matrices: one panel of all columns
        return columns

    def multiply(self, a: Stack, b: Stack, out: Stack, *, transposed: bool = False, add: bool = False) -> None:
        self._cublas.multiply(a, b, out, transposed=transposed, add=add)

    def parallel(self, tasks: int, body: Callable[[int, int], None]) -> None:
        # the stream orders the launches; each fills the GPU by itself
        for task in range(tasks):
            body(task, 0)

    def holds(self, array: Any) -> bool:
        return isinstance(array, self.xp.ndarray) and array.device.id == self.index

    def to_device(self, array: Array) -> Array:
        with self.current():
            return self.xp.ascontiguousarray(self.xp.asarray(array))

    def to_host(self, array: Array) -> np.ndarray:
        self._refuse_in_child()
        return to_host(array)

    def synchronize(self) -> None:
        with self.current():
            self.xp.cuda.get_current_stream().synchronize()

    def seconds(self, body: Callable[[], None]) -> float:
        return self.streams.seconds(body)

    def nccl(self) -> Any:
        """NCCL as CuPy has it. Raises UserError where there is none, or none for this driver."""
        self._refuse_in_child()
        return import_nccl(self.xp)

    def free_bytes(self) -> int:
        with self.current():
            free, _ = self.xp.cuda.runtime.memGetInfo()
            return int(free + self.xp.get_default_memory_pool().free_bytes())
