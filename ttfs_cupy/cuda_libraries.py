"""Loads the CUDA 12 libraries that cupy-cuda12x needs, before CuPy looks for them.

PyPI's torch brings CUDA 13's libraries into the same environment. cuda-pathfinder then prefers those, and CuPy built
for CUDA 12 fails or compiles for a newer driver. What is already loaded wins, so the CUDA 12 wheels' own libraries
are loaded by path first, whichever of torch and CuPy is imported first.
"""

import ctypes
import importlib.metadata
import importlib.util
from pathlib import Path

# In the order of their dependence on each other: folder below the nvidia namespace package, and file.
_LIBRARIES = (
    ("cuda_runtime", "libcudart.so.12"),
    ("cuda_nvrtc", "libnvrtc.so.12"),
    ("cublas", "libcublasLt.so.12"),
    ("cublas", "libcublas.so.12"),
)


def preload() -> list[Path]:
    """Loads what is installed of the CUDA 12 wheels and returns the paths; nothing where CuPy is not cupy-cuda12x."""
    if not _cupy_is_for_cuda_12():
        return []
    loaded = []
    for folder, file in _LIBRARIES:
        path = _find(folder, file)
        if path is None:
            continue
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            # a damaged wheel: CuPy's own search may still find a system-wide toolkit, and names what is missing
            continue
        loaded.append(path)
    return loaded


def _cupy_is_for_cuda_12() -> bool:
    try:
        importlib.metadata.version("cupy-cuda12x")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _find(folder: str, file: str) -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    for base in (spec.submodule_search_locations if spec else None) or ():
        path = Path(base, folder, "lib", file)
        if path.exists():
            return path
    return None
