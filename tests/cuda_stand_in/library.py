"""CuPy's functions and arrays, as far as the engine uses them, over a stand-in's machine."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from emulator.device import emulator_of

from cuda_stand_in.captures import Work
from cuda_stand_in.cublas import CublasLibrary
from cuda_stand_in.machine import Event, Machine, Pool, Stream
from cuda_stand_in.memory import Region, pointer, spans_of
from cuda_stand_in.nccl import nccl
from ttfs_cupy.device import CpuDevice, CudaDevice, cuda
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.cublas import Cublas
from ttfs_cupy.device.gpu_limits import GpuLimits, of_capability

# A variant's constants come last before its file.
_CONSTANT = re.compile(r"^#define ([A-Z_]+) (\d+)$(?=(?:\n#define [A-Z_]+ \d+$)*\n#line)", re.MULTILINE)

# Whose kernels are run.
CPU = CpuDevice(1)


class StandInCublas(Cublas):
    library: CublasLibrary

    def _load(self) -> CublasLibrary:
        return self.library


class StandInDevice(CudaDevice):
    """compiled_ahead: the variants that it was asked to have ready. Nothing is compiled: nothing here could run it."""

    def __init__(self, index: int, library: CublasLibrary, nccl_version: int):
        self.compiled_ahead: set[source.Variant] = set()
        self._nccl = nccl(library.machine, version=nccl_version)
        super().__init__(index)
        assert self.gpu is not None
        self._cublas = StandInCublas(self.xp, self.gpu.capability)
        self._cublas.library = library

    def compile_ahead(self, variants: Iterable[source.Variant]) -> None:
        self.compiled_ahead |= {*variants}

    def nccl(self) -> Any:
        return self._nccl

    def registers(self, variant: source.Variant) -> int:
        return 255

    def _module(self, file: str, constants: source.Constants) -> Any:
        return self.xp.RawModule(code=source.cuda_text(file, constants), options=())


def device_of(
    machine: Machine, capability: tuple[int, int] = (7, 5), index: int = 0, *, nccl_version: int = 23007
) -> CudaDevice:
    """The engine's own device, on that machine. With tensor cores (8.0 and higher) cooperative kernels are emulated."""
    library = cupy(machine, of_capability(capability, multiprocessors=4))
    with patch.object(cuda, "import_cupy", lambda: library):
        return StandInDevice(index, CublasLibrary(machine), nccl_version)


class Array(np.ndarray):
    """cupy.ndarray: launches and copies know it by its address, all else makes its machine do it at once."""

    machine: Machine
    gpu: int

    def __array_finalize__(self, other: Any) -> None:
        self.machine = getattr(other, "machine", None)  # type: ignore[assignment]
        self.gpu = getattr(other, "gpu", 0)

    @property
    def device(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(id=self.gpu)

    @property
    def data(self) -> Any:  # type: ignore[override]
        return _Data(self)

    def get(self) -> np.ndarray:
        stream = self.machine.current[-1]
        self.machine.refuse_while_capturing(stream, "be copied to the host from")
        self.machine.note("copy to host", stream.name)
        self.machine.touch(self.machine.races, spans_of([self]), stream.tick(), stream, "a copy to the host")
        stream.drain()
        return np.array(self.view(np.ndarray))

    def set(self, host: np.ndarray, stream: Stream) -> None:
        """Asynchronous from pinned memory only."""
        assert self.shape == host.shape and self.dtype == host.dtype and host.flags.c_contiguous
        machine, region, from_host = self.machine, Region.of(self), Region.of(host)
        machine.refuse_while_capturing(stream, "be copied to from the host")
        is_pinned = any(np.shares_memory(host, whole) for whole in machine.pinned)
        machine.note("copy in" if is_pinned else "pageable copy", stream.name, "", (from_host.pointer, region.pointer))
        machine.touch(machine.races, spans_of([self]), stream.tick(), stream, "a copy from the host")
        stream.enqueue(Work(lambda: np.copyto(region.array(), from_host.array()), keeps=(self, host)))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **named: Any) -> Any:
        machine = next(value.machine for value in (*inputs, *(out or ())) if isinstance(value, Array))
        result = express(machine, ufunc.__name__, getattr(ufunc, method), *inputs, **named)
        if out is None:
            return result
        out[0].view(np.ndarray)[...] = result
        return out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, named: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} does not take arrays of a GPU")

    def __setitem__(self, key: Any, value: Any) -> None:
        express(self.machine, "assignment", lambda target, new: target.__setitem__(key, new), self, value)

    def __bool__(self) -> bool:
        return bool(self.get())

    def item(self, *arguments: Any) -> Any:
        return self.get().item(*arguments)

    def copy(self, order: Any = "C") -> "Array":
        return express(self.machine, "copy", np.copy, self)

    def __deepcopy__(self, memo: Any) -> "Array":
        with _Gpu(self.machine, self.gpu):  # whereas copy() is on the current one
            return self.copy()

    def astype(self, dtype: Any, copy: bool = True, **_: Any) -> "Array":  # type: ignore[override]
        if not copy and self.dtype == dtype:
            return self
        return express(self.machine, "astype", lambda values: values.astype(dtype), self)

    def tobytes(self, order: Any = "C") -> bytes:
        raise TypeError("an array of a GPU has no bytes on the host: get() it first")


# the engine tells CuPy's arrays by their module, and names their class in messages
Array.__module__, Array.__name__ = "cupy", "ndarray"


@dataclass(frozen=True)
class _Data:
    """cupy.cuda.MemoryPointer."""

    array: Array

    @property
    def ptr(self) -> int:
        return pointer(self.array)

    def copy_from_device_async(self, other: "_Data", size: int, stream: Stream) -> None:
        target, origin, machine = self.array, other.array, self.array.machine
        assert size == target.nbytes == origin.nbytes
        machine.refuse_while_capturing(stream, "be copied within")
        to, from_ = Region.of(target), Region.of(origin)
        machine.note("copy within", stream.name, "", (from_.pointer, to.pointer))
        machine.touch(machine.races, spans_of([target, origin]), stream.tick(), stream, "a copy")
        stream.enqueue(Work(lambda: np.copyto(to.array(), from_.array()), keeps=(target, origin)))


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Array) else value


def allocate(machine: Machine, shape: Any, dtype: Any = np.float64) -> Array:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    root = machine.allocate(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
    array = np.ndarray.__new__(Array, shape, dtype, root)
    array.machine = machine
    array.gpu = machine.gpu
    return array


def express(machine: Machine, name: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """An expression of the library's: done at once, after all that is in the current stream."""
    stream = machine.current[-1]
    machine.refuse_while_capturing(stream, f"evaluate {name}")
    machine.refuse_beside_a_capture(stream, "evaluated")
    machine.note("expression", stream.name, name)
    arrays = [value for value in (*arguments, *named.values()) if isinstance(value, Array)]
    machine.touch(machine.races, spans_of(arrays), stream.tick(), stream, name)
    stream.drain()
    with np.errstate(all="ignore"):
        result = function(*map(_plain, arguments), **{key: _plain(value) for key, value in named.items()})
    return given(machine, result) if isinstance(result, (np.ndarray, np.generic)) else result


def given(machine: Machine, values: np.ndarray | np.generic) -> Array:
    """A new array of those values."""
    array = allocate(machine, np.shape(values), values.dtype)
    array.view(np.ndarray)[...] = values
    return array


class _Function:
    """A kernel as cupy.RawModule hands it out: in its CPU build, or one without, a cooperative one, in the emulator."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, machine: Machine, code: str, kernel: str):
        target = "cpu" if kernel in source.kernels("cpu") else source.COOPERATIVE
        self._machine = machine
        self._kernel = source.kernels(target)[kernel]
        self._emulator = None
        if target == source.COOPERATIVE:
            constants = tuple((name, int(value)) for name, value in _CONSTANT.findall(code))
            self._emulator = emulator_of(self._kernel.file, constants)

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], shared_mem: int = 0
    ) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        values: list[Any] = []
        arrays, scalars = [], []
        for parameter, value in zip(self._kernel.parameters, arguments, strict=True):
            if isinstance(value, Array):
                assert parameter.is_pointer and value.dtype == parameter.dtype and value.flags.c_contiguous
                assert value.gpu == self._machine.gpu, "a launch on another GPU than the current one"
                arrays.append(value)
                values.append(Region.of(value) if self._emulator else pointer(value))
            elif parameter.is_pointer:
                assert isinstance(value, np.uintp) and not value
                values.append(None if self._emulator else 0)
            else:
                # the driver reads as many bytes as the kernel declares
                assert value.dtype == parameter.dtype, (self._kernel.name, parameter.name)
                scalars.append(value.item())
                values.append(value.item())
        body = self._emulated(grid, block, shared_mem, values) if self._emulator else self._called(values)
        self._machine.launch("launch", self._kernel.name, arrays, tuple(scalars), body)

    def _called(self, values: list[Any]) -> Callable[[], None]:
        entry = CPU._entries[self._kernel.name]
        return lambda: entry(0, 1, *values)

    def _emulated(
        self, grid: tuple[int, ...], block: tuple[int, ...], shared_bytes: int, values: list[Any]
    ) -> Callable[[], None]:
        emulator = self._emulator
        assert emulator is not None

        def body() -> None:
            given = [value.array() if isinstance(value, Region) else value for value in values]
            emulator.launch(self._kernel.name, grid[0], block[0], shared_bytes, *given)

        return body


def _matmul(machine: Machine, left: Array, right: Array, out: Array) -> None:
    """As CuPy: it gives its cuBLAS handle the current stream, and refuses one that is captured."""
    machine.refuse_while_capturing(machine.current[-1], "be given to cuBLAS by CuPy", NotImplementedError)
    a, b, c = Region.of(left), Region.of(right), Region.of(out)
    body = lambda: np.matmul(a.array(), b.array(), out=c.array())  # noqa: E731
    machine.launch("product", "matmul", (left, right, out), (), body)


def cupy(machine: Machine, gpu: GpuLimits) -> Any:
    """The module, which says that there is that GPU."""

    @contextmanager
    def using_allocator(malloc: Any) -> Iterator[None]:
        machine.allocator = malloc
        try:
            yield
        finally:
            machine.allocator = None

    def alloc_pinned_memory(size: int) -> np.ndarray:
        machine.refuse_beside_a_capture(None, "pinned")
        machine.note("allocate pinned")
        machine.pinned.append(np.empty(size, np.uint8))
        return machine.pinned[-1]

    def zeros(shape: Any, dtype: Any = np.float64) -> Array:
        array = allocate(machine, shape, dtype)
        array.view(np.ndarray)[...] = 0
        return array

    def asarray(values: Any, dtype: Any = None) -> Array:
        if isinstance(values, Array):
            return values if dtype is None else values.astype(dtype, copy=False)
        machine.refuse_while_capturing(machine.current[-1], "be copied to from the host")
        machine.note("pageable copy", machine.current[-1].name)
        machine.current[-1].drain()
        return given(machine, np.asarray(values, dtype))

    def ascontiguousarray(values: Array) -> Array:
        return values if values.flags.c_contiguous else express(machine, "copy", np.ascontiguousarray, values)

    def expression(name: str) -> Callable[..., Any]:
        return lambda *arguments, **named: express(machine, name, getattr(np, name), *arguments, **named)

    properties = {
        "name": b"stand-in",
        "major": gpu.capability[0],
        "minor": gpu.capability[1],
        "multiProcessorCount": gpu.multiprocessors,
        "regsPerMultiprocessor": gpu.registers,
        "maxThreadsPerMultiProcessor": gpu.threads,
        "maxBlocksPerMultiProcessor": gpu.blocks,
        "sharedMemPerMultiprocessor": gpu.shared_bytes,
        "sharedMemPerBlockOptin": gpu.block_shared_bytes,
    }
    runtime = SimpleNamespace(
        deviceGetPCIBusId=lambda index: f"{machine.bus}:{index:02X}.0",
        driverGetVersion=lambda: 13000,
        getDeviceProperties=lambda index: properties,
        memGetInfo=lambda: (1 << 33, 1 << 34),
    )
    cuda_module = SimpleNamespace(
        Device=partial(_Gpu, machine),
        Event=lambda **_: Event(machine),
        MemoryPool=lambda: Pool(machine),
        Stream=lambda **_: machine.new_stream(),
        alloc_pinned_memory=alloc_pinned_memory,
        get_elapsed_time=_elapsed,
        get_current_stream=lambda: machine.current[-1],
        runtime=runtime,
        using_allocator=using_allocator,
    )
    return SimpleNamespace(
        RawModule=lambda code, options: SimpleNamespace(get_function=lambda kernel: _Function(machine, code, kernel)),
        ascontiguousarray=ascontiguousarray,
        asarray=asarray,
        cuda=cuda_module,
        empty=partial(allocate, machine),
        empty_like=lambda array: allocate(machine, array.shape, array.dtype),
        get_default_memory_pool=lambda: Pool(machine),
        abs=expression("abs"),
        isfinite=expression("isfinite"),
        matmul=lambda left, right, out: _matmul(machine, left, right, out),
        ndarray=Array,
        rint=expression("rint"),
        where=expression("where"),
        zeros=zeros,
    )


def _elapsed(begin: Event, end: Event) -> float:
    """In milliseconds; of events that have come to pass."""
    assert begin.marker is not None and end.marker is not None and begin.marker.is_past and end.marker.is_past
    return end.marker.time - begin.marker.time


class _Gpu:
    """cupy.cuda.Device, which keeps what to go back to for whichever thread."""

    def __init__(self, machine: Machine, index: int):
        self._machine, self._index = machine, index
        self._before: list[int] = []

    def use(self) -> None:
        self._machine.gpu = self._index

    def __enter__(self) -> None:
        self._before.append(self._machine.gpu)
        self.use()

    def __exit__(self, *_: Any) -> None:
        self._machine.gpu = self._before.pop()
