"""Matrix products on a GPU, by cuBLAS through a handle and a workspace of the engine's own.

CuPy's wrappers set the stream of their handle at every call, and refuse to on a stream that is being recorded as a
CUDA graph; nor do they add to a stack of matrices. cuBLAS itself can be recorded, once it has a workspace (cuBLAS,
"CUDA Graphs Support"). So its C functions are called here, in the library that CuPy has loaded. With one handle, one
workspace and one stream at a time cuBLAS gives the same bits from run to run (cuBLAS, "Results Reproducibility").

What is said here was read in NVIDIA's manual and in CuPy's source; none of it has run on a GPU yet.
"""

import ctypes
import weakref
from collections.abc import Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.arrays import Array, Stack

# cublasOperation_t, and the mathematics in which float32 stays float32 (CUBLAS_DEFAULT_MATH: TF32 must be asked for)
_PLAIN, _TRANSPOSED = 0, 1
_DEFAULT_MATH = 0

# As NVIDIA's manual wants it (cublasSetWorkspace): more from compute capability 9.0 on
WORKSPACE_BYTES, LARGE_WORKSPACE_BYTES = 4 << 20, 32 << 20

_Pointer, _Int, _Floats = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_float)
_MATRIX, _STACK = (_Pointer, _Int), (_Pointer, _Int, ctypes.c_longlong)
_PRODUCT = (_Pointer, _Int, _Int, _Int, _Int, _Int, _Floats)
_SIGNATURES: dict[str, Sequence[Any]] = {
    "cublasCreate_v2": (ctypes.POINTER(_Pointer),),
    "cublasDestroy_v2": (_Pointer,),
    "cublasSetMathMode": (_Pointer, _Int),
    "cublasSetStream_v2": (_Pointer, _Pointer),
    "cublasSetWorkspace_v2": (_Pointer, _Pointer, ctypes.c_size_t),
    "cublasSgemm_v2": (*_PRODUCT, *_MATRIX, *_MATRIX, _Floats, *_MATRIX),
    "cublasSgemmStridedBatched": (*_PRODUCT, *_STACK, *_STACK, _Floats, *_STACK, _Int),
}

# cublasStatus_t, without CUBLAS_STATUS_
_STATUS = {
    1: "NOT_INITIALIZED",
    3: "ALLOC_FAILED",
    7: "INVALID_VALUE",
    8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR",
    13: "EXECUTION_FAILED",
    14: "INTERNAL_ERROR",
    15: "NOT_SUPPORTED",
    16: "LICENSE_ERROR",
}


class CublasError(RuntimeError):
    """A call that cuBLAS refused, and its reason by name."""


def load_library(cupy: ModuleType) -> Any:
    """cuBLAS of the CUDA version that CuPy was built for. Raises UserError where it cannot be loaded."""
    file = f"libcublas.so.{cupy.cuda.runtime.runtimeGetVersion() // 1000}"
    try:
        # CuPy's own binding finds the library; under its name it is then the one that is loaded already
        import cupy_backends.cuda.libs.cublas  # noqa: F401

        return ctypes.CDLL(file)
    except (ImportError, OSError) as error:
        raise UserError(f"cuBLAS cannot be loaded ({next(iter(str(error).splitlines()), file)})") from error


class Cublas:
    """Products on one GPU. capability: its compute capability."""

    def __init__(self, cupy: ModuleType, capability: tuple[int, int]):
        self._cupy = cupy
        self._workspace_bytes = LARGE_WORKSPACE_BYTES if capability >= (9, 0) else WORKSPACE_BYTES
        self._stream: int | None = None

    def multiply(self, a: Stack, b: Stack, out: Stack, *, transposed: bool, add: bool) -> None:
        """As Device.multiply, in the current stream.

        Raises ValueError for an array that is not float32, contiguous and large enough, and CublasError where cuBLAS
        refuses.
        """
        self._take_stream()
        depth = a.rows if transposed else a.columns
        # cuBLAS counts columns first, so it sees every matrix transposed: out' = b' a'
        left, right, target = (_checked(name, stack) for name, stack in (("b", b), ("a", a), ("out", out)))
        operation = (_PLAIN, _TRANSPOSED if transposed else _PLAIN, out.columns, out.rows, depth)
        one, beta = ctypes.c_float(1), ctypes.c_float(1 if add else 0)
        sizes = ((left, b), (right, a), (target, out))
        # without corners all matrices are one stack, else each row of the grid is
        rows, across = (1, a.count) if a.across == b.across == out.across else (a.count // a.across, a.across)
        for y in range(rows):
            places = [start + 4 * y * stack.across * stack.step for start, stack in sizes]
            if across == 1:
                first, second, third = ((place, stack.columns) for place, (_, stack) in zip(places, sizes, strict=True))
                self._call("cublasSgemm_v2", *operation, one, *first, *second, beta, *third)
            else:
                first, second, third = (  # type: ignore[assignment]
                    (place, stack.columns, stack.step) for place, (_, stack) in zip(places, sizes, strict=True)
                )
                self._call("cublasSgemmStridedBatched", *operation, one, *first, *second, beta, *third, across)

    def _take_stream(self) -> None:
        stream = self._cupy.cuda.get_current_stream().ptr
        if stream != self._stream:
            self._stream = None
            self._call("cublasSetStream_v2", stream)
            # a new stream takes the workspace away
            self._call("cublasSetWorkspace_v2", self._workspace.data.ptr, self._workspace.nbytes)
            self._stream = stream

    def _call(self, name: str, *arguments: Any) -> None:
        _check(name, getattr(self._library, name)(self._handle, *arguments))

    def _load(self) -> Any:
        return load_library(self._cupy)

    @cached_property
    def _library(self) -> Any:
        library = self._load()
        for name, types in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = types, _Int
        return library

    @cached_property
    def _handle(self) -> ctypes.c_void_p:
        library, handle = self._library, ctypes.c_void_p()
        _check("cublasCreate_v2", library.cublasCreate_v2(ctypes.byref(handle)))
        # not as the process ends: the driver may be gone by then, and takes the handle with it
        weakref.finalize(self, library.cublasDestroy_v2, handle).atexit = False
        _check("cublasSetMathMode", library.cublasSetMathMode(handle, _DEFAULT_MATH))
        return handle

    @cached_property
    def _workspace(self) -> Array:
        return self._cupy.empty(self._workspace_bytes, np.uint8)


def _check(call: str, status: int) -> None:
    if status:
        raise CublasError(f"{call} says CUBLAS_STATUS_{_STATUS.get(status, status)}")


def _checked(name: str, stack: Stack) -> int:
    """Where a stack's first value lies."""
    array = stack.array
    if array.dtype != np.float32 or not array.flags.c_contiguous or stack.step < stack.rows * stack.columns:
        raise ValueError(
            f"multiply: {name} must be float32, C-contiguous and at least {stack.rows} x {stack.columns} a matrix, "
            f"not {array.dtype} {tuple(array.shape)}"
        )
    return int(array.data.ptr)
