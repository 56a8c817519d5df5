"""cuBLAS's C functions, as far as the engine calls them, on a stand-in's machine.

They are C functions, made of Python's, with the parameters of NVIDIA's header: who calls them with other types is found
out. What a GPU would be silent about, or answer by reading beyond an array, is a status and a violation here.
"""

import ctypes
from collections.abc import Callable
from ctypes import POINTER, c_float, c_int, c_longlong, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuda_stand_in.captures import CaptureError
from cuda_stand_in.machine import Machine, Stream
from cuda_stand_in.memory import Region

SUCCESS, NOT_INITIALIZED, INVALID_VALUE = 0, 1, 7

# Of cublas_api.h
_GEMM = (c_void_p, c_int, c_int, c_int, c_int, c_int, POINTER(c_float))
_TYPES: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (POINTER(c_void_p),),
    "cublasDestroy_v2": (c_void_p,),
    "cublasSetMathMode": (c_void_p, c_int),
    "cublasSetStream_v2": (c_void_p, c_void_p),
    "cublasSetWorkspace_v2": (c_void_p, c_void_p, c_size_t),
    "cublasSgemm_v2": (*_GEMM, c_void_p, c_int, c_void_p, c_int, POINTER(c_float), c_void_p, c_int),
    "cublasSgemmStridedBatched": (
        *(*_GEMM, c_void_p, c_int, c_longlong, c_void_p, c_int, c_longlong),
        *(POINTER(c_float), c_void_p, c_int, c_longlong, c_int),
    ),
}


@dataclass
class _Handle:
    stream: Stream
    has_workspace: bool = False


@dataclass(frozen=True)
class _Matrices:
    """One of a product's factors, or its result: columns first, as cuBLAS has it."""

    place: int
    rows: int
    columns: int
    leading: int
    step: int = 0

    def view(self, machine: Machine, count: int) -> np.ndarray:
        """(count, rows, columns)."""
        assert self.leading >= max(1, self.rows), "a leading dimension below the number of rows"
        assert count == 1 or self.step >= self.leading * (self.columns - 1) + self.rows, "matrices that overlap"
        shape, strides = (count, self.rows, self.columns), (4 * self.step, 4, 4 * self.leading)
        return machine.memory.view(self.place, shape, strides)


class CublasLibrary:
    """What ctypes.CDLL would be; `calls` counts them by name."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self._handles: dict[int, _Handle] = {}
        self.calls: dict[str, int] = dict.fromkeys(_TYPES, 0)
        for name, types in _TYPES.items():
            setattr(self, name, ctypes.CFUNCTYPE(c_int, *types)(self._counted(name)))

    def _counted(self, name: str) -> Callable[..., int]:
        """Exceptions do not travel through C: they become a violation, and a status."""
        body: Callable[..., None] = getattr(self, f"_{name.removeprefix('cublas').removesuffix('_v2')}")

        def call(*arguments: Any) -> int:
            self.calls[name] += 1
            try:
                if name != "cublasCreate_v2" and arguments[0] not in self._handles:
                    return NOT_INITIALIZED
                body(*arguments)
            except CaptureError:
                return INVALID_VALUE
            except AssertionError as error:
                self.machine.violations.append(f"{name}: {error}")
                return INVALID_VALUE
            return SUCCESS

        return call

    def _Create(self, handle: Any) -> None:  # noqa: N802
        self.machine.refuse_beside_a_capture(None, "set up")
        number = 0xB1A5 + len(self._handles)
        self._handles[number] = _Handle(self.machine.streams[0])
        handle[0] = number

    def _Destroy(self, handle: int) -> None:  # noqa: N802
        del self._handles[handle]

    def _SetMathMode(self, handle: int, mode: int) -> None:  # noqa: N802
        assert mode == 0, "float32 would not stay float32"

    def _SetStream(self, handle: int, stream: int | None) -> None:  # noqa: N802
        self._handles[handle] = _Handle(next(one for one in self.machine.streams if one.ptr == (stream or 0)))

    def _SetWorkspace(self, handle: int, place: int, size: int) -> None:  # noqa: N802
        self.machine.memory.view(place, (size // 4,), (4,))
        assert size >= 16 << 10, "too small a workspace, which cuBLAS then does not use"
        self._handles[handle].has_workspace = True

    def _Sgemm(self, handle: int, *arguments: Any) -> None:  # noqa: N802
        *product, a, lda, b, ldb, beta, c, ldc = arguments
        self._multiply(handle, "cublasSgemm_v2", product, (a, lda, 0), (b, ldb, 0), beta, (c, ldc, 0), 1)

    def _SgemmStridedBatched(self, handle: int, *arguments: Any) -> None:  # noqa: N802
        *product, a, lda, a_step, b, ldb, b_step, beta, c, ldc, c_step, count = arguments
        places = (a, lda, a_step), (b, ldb, b_step), beta, (c, ldc, c_step)
        self._multiply(handle, "cublasSgemmStridedBatched", product, *places, count)

    def _multiply(
        self, number: int, name: str, product: list[Any], a: Any, b: Any, beta: Any, c: Any, count: int
    ) -> None:
        """c = op(a) op(b) + beta c; the scalars are read now, as with host pointers."""
        a_transposed, b_transposed, m, n, k, alpha = product
        handle, machine = self._handles[number], self.machine
        assert min(m, n, k, count) > 0, "an empty product"
        assert handle.has_workspace, "no workspace: in a graph cuBLAS would allocate one"
        assert alpha[0] == 1 and beta[0] in (0, 1)
        adds = beta[0] == 1

        def factor(given: tuple[int, int, int], rows: int, columns: int, transposed: int) -> np.ndarray:
            place, leading, step = given
            sizes = (columns, rows) if transposed else (rows, columns)
            view = _Matrices(place, *sizes, leading, step).view(machine, count)
            return view.swapaxes(1, 2) if transposed else view

        arrays = factor(a, m, k, a_transposed), factor(b, k, n, b_transposed), factor(c, m, n, 0)
        left, right, target = (Region.of(array) for array in arrays)

        def body() -> None:
            with np.errstate(all="ignore"):
                result = np.matmul(left.array(), right.array())
                np.copyto(target.array(), target.array() + result if adds else result)

        machine.launch("product", name, arrays, (m, n, k, adds), body, handle.stream)
