"""CuPy, imported here first, and only when a GPU or its compiler is asked for; and why a GPU cannot be used."""

import ctypes
from contextlib import suppress
from functools import cache
from types import ModuleType

from ttfs_cupy.common.command.interruption import uninterrupted
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.libraries import cuda_libraries


def cuda_trouble(index: int = 0) -> str | None:
    """Why that GPU cannot be used, or None if it can."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "this machine has no NVIDIA driver (libcuda.so.1)"
    # It takes seconds where there are many GPUs. CuPy would keep Python's lock meanwhile, and threads stand still. What
    # goes wrong here goes wrong there again, which tells it.
    if hasattr(driver, "cuInit"):
        driver.cuInit(0)
    trouble = cuda_libraries.cupy_trouble()
    if trouble:
        return trouble
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
    """CuPy, with the CUDA libraries that it was built for. Raises UserError where it is missing or there twice."""
    trouble = cuda_libraries.cupy_trouble()
    if trouble:
        raise UserError(trouble)
    with uninterrupted(), cuda_libraries.found_by_cupy(cuda_libraries.preload()):
        import cupy

        # CuPy looks for these two when they are first used, and remembers: they are used now
        cupy.cuda.get_cuda_path()
        with suppress(Exception):  # a missing NVRTC is told when something is compiled
            cupy.cuda.nvrtc.getVersion()
    return cupy
