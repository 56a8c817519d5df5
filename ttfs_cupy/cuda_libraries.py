"""Gives cupy-cuda12x the CUDA 12 libraries that it was built for.

PyPI's torch brings CUDA 13's libraries into the same environment. cuda-pathfinder, which CuPy asks, prefers those, even
where CUDA 12's are loaded as well, and CuPy built for CUDA 12 then fails or compiles for a newer driver. So the CUDA 12
wheels' own libraries are loaded by path, and while CuPy is bound to its libraries, pathfinder's answer is these:
whichever of torch and CuPy is imported first.
"""

import ctypes
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# In the order of their dependence on each other: what pathfinder calls it, folder below the nvidia package, and file.
_LIBRARIES = (
    ("cudart", "cuda_runtime", "libcudart.so.12"),
    ("nvrtc", "cuda_nvrtc", "libnvrtc.so.12"),
    ("cublasLt", "cublas", "libcublasLt.so.12"),
    ("cublas", "cublas", "libcublas.so.12"),
)


def preload() -> dict[str, Path]:
    """Loads what is installed of the CUDA 12 wheels; the paths by pathfinder's names for the libraries.

    Nothing where CuPy is not cupy-cuda12x.
    """
    if wanted_major() != 12:
        return {}
    paths = {}
    for name, folder, file in _LIBRARIES:
        path = _find(folder, file)
        if path is None:
            continue
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            # a damaged wheel: CuPy's own search may still find a system-wide toolkit, and names what is missing
            continue
        paths[name] = path
    return paths


@contextmanager
def found_by_cupy(paths: dict[str, Path]) -> Iterator[None]:
    """Within it, cuda-pathfinder answers with those libraries; others in the process are served as ever afterwards."""
    if not paths:
        yield
        return
    from cuda import pathfinder

    original = pathfinder.load_nvidia_dynamic_lib

    def answer(name: str) -> Any:
        if name not in paths:
            return original(name)
        handle = ctypes.CDLL(str(paths[name]))._handle
        return pathfinder.LoadedDL(str(paths[name]), True, handle, "site-packages")

    pathfinder.load_nvidia_dynamic_lib = answer
    try:
        yield
    finally:
        pathfinder.load_nvidia_dynamic_lib = original


def cupy_distribution() -> tuple[str, str] | None:
    """Name and version of the installed CuPy, such as ("cupy-cuda12x", "14.2.0"); None if there is none."""
    for name in ("cupy-cuda12x", "cupy-cuda13x", "cupy"):
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def wanted_major() -> int | None:
    """The CUDA version that the installed CuPy was built for, as far as its name tells."""
    found = cupy_distribution()
    match = re.search(r"cuda(\d+)", found[0]) if found else None
    return int(match[1]) if match else None


def installed_majors() -> set[int]:
    """The CUDA versions whose runtime compiler is installed as a wheel."""
    return {
        int(distribution.version.partition(".")[0])
        for distribution in importlib.metadata.distributions()
        if re.fullmatch(r"nvidia[-_]cuda[-_]nvrtc([-_]cu\d+)?", distribution.name or "")
    }


def loaded() -> list[Path]:
    """The libraries of CUDA's toolkit in this process, whoever loaded them (empty where /proc does not tell)."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    paths = {Path(line.split(maxsplit=5)[-1]) for line in lines}
    return sorted(path for path in paths if re.match(r"lib(cudart|nvrtc|cublas|cublasLt)\.so", path.name))


def _find(folder: str, file: str) -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    for base in (spec.submodule_search_locations if spec else None) or ():
        path = Path(base, folder, "lib", file)
        if path.exists():
            return path
    return None
